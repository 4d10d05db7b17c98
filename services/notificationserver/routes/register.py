"""`POST /register`: the channels and preferences of a device."""

from fastapi import Request, Response
from starlette.responses import RedirectResponse

from services.backbone.outgoing import OutgoingRefused
from services.backbone.outgoing.client import check_url
from services.backbone.pages.guard import role_of
from services.notificationserver.core.mappings import DeviceMapping
from services.notificationserver.core.registrations import (
    InvalidRegistration,
    Registration,
    apply,
    parse_registration,
)
from services.notificationserver.routes.context import NotifyContext
from services.notificationserver.routes.gate import APP_ROLE
from services.notificationserver.routes.requests import RequestFailed, json_response, read_fields


class RegisterRoutes:
    """Registers devices."""

    def __init__(self, context: NotifyContext) -> None:
        self._context = context

    async def register(self, request: Request) -> Response:
        """Register a device. A callback without a key gets one, which only this response shows."""
        sent = await read_fields(request, max_bytes=self._context.settings.max_body_bytes)
        try:
            registration = parse_registration(sent, is_app=role_of(request.scope) == APP_ROLE)
            _check_addresses(registration)
        except InvalidRegistration as error:
            raise RequestFailed(422, "invalid", str(error), fields=error.errors) from None
        new_key = self._context.new_key()
        now_ms = self._context.now_ms()

        def change(stored: DeviceMapping | None) -> DeviceMapping:
            return apply(registration, stored, now_ms=now_ms, new_key=new_key)

        mapping = await self._context.mappings.change(registration.device_id, change)
        if sent.get("redirect"):
            return RedirectResponse("/mappings", 303)
        made = {"callback_key": new_key} if mapping.callback_key == new_key else {}
        ignored = {"ignored": registration.ignored} if registration.ignored else {}
        return json_response({"status": "ok", **made, **ignored})


def _check_addresses(registration: Registration) -> None:
    """Raise InvalidRegistration for a URL that the guarded client would refuse for its form."""
    addresses = [("callback_url", registration.values.get("callback_url", ""))]
    addresses += [("webpush", each.endpoint) for each in registration.values.get("webpush", ())]
    for field, url in addresses:
        try:
            if url:
                check_url(url)
        except OutgoingRefused as error:
            raise InvalidRegistration({field: str(error)}) from None
