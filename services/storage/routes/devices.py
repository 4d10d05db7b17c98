"""`POST /devices/<id>/token`: issues the token of a device."""

from fastapi import Request, Response

from services.storage.core.access import is_device
from services.storage.core.fields import MAX_OWNER_CHARACTERS
from services.storage.routes.access import TOKEN_HEADER
from services.storage.routes.context import ApiContext
from services.storage.routes.errors import ApiError, json_response
from services.storage.routes.requests import caller_of, text_parameter


class DeviceRoutes:
    """Tokens of devices."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    async def issue_token(self, device: str, request: Request) -> Response:
        """Return the token of a device, once. A service can issue a new one, which replaces the old one."""
        caller = caller_of(request)
        name = text_parameter(device, "id", most=MAX_OWNER_CHARACTERS)
        # Otherwise a phone could take the token of an importer, and with it the right to change its offers.
        if not caller.is_service and not is_device(name):
            raise ApiError(403, "forbidden", "a phone gets a token for a device id only: 16 hexadecimal digits")
        token = await self._context.stores.devices.issue(name, now_ms=self._context.now_ms(), replace=caller.is_service)
        if token is None:
            raise ApiError(409, "issued", "the token of this device was issued already; a service can replace it")
        return json_response({"device": name, "token": token, "header": TOKEN_HEADER}, 201)
