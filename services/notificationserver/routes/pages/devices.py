"""The pages of devices: the list, one device with its messages, and the forms."""

from typing import Any

from fastapi import Request, Response
from starlette.responses import RedirectResponse

from services.notificationserver.core.mappings import DeviceMapping
from services.notificationserver.core.registrations import FIELDS
from services.notificationserver.core.timelines import mask
from services.notificationserver.routes.pages.site import PAGE_ROWS, PageContext, address, page_number, redirect
from services.notificationserver.routes.requests import RequestFailed

_DONE = {
    "registered": "The device is registered.",
    "deleted": "The mapping is deleted. Nothing is sent to this device until it registers again.",
    "activated": "The callback is active again.",
    "sent": "The text is stored. It is among the messages in a moment.",
}


class DevicePages:
    """Shows what is registered, and deletes or reactivates it."""

    def __init__(self, context: PageContext) -> None:
        self._context = context

    async def list(self, request: Request) -> Response:
        """Show the mappings, newest first."""
        text, page = request.query_params.get("q", "").strip(), page_number(request)
        mappings, total = await self._context.mappings.page(text, skip=PAGE_ROWS * (page - 1), limit=PAGE_ROWS)
        newest = await self._context.deliveries.newest_of(mapping.device_id for mapping in mappings)
        rows = [(mapping, mask(mapping.device_id), newest.get(mapping.device_id)) for mapping in mappings]
        return self._context.renderer.page(
            request.scope,
            "mappings.html",
            rows=rows,
            total=total,
            text=text,
            page=page,
            pages=max(1, -(-total // PAGE_ROWS)),
            page_url=lambda number: address("/mappings", q=text, page=number),
            done=_DONE.get(request.query_params.get("done", "")),
        )

    async def show(self, request: Request, ref: str) -> Response:
        """Show one device, its channels and its messages, newest first."""
        mapping, page = await self._mapping(ref), page_number(request)
        found = await self._context.messages.page(
            device_id=mapping.device_id, skip=PAGE_ROWS * (page - 1), limit=PAGE_ROWS + 1
        )
        records = found[:PAGE_ROWS]
        deliveries = await self._context.deliveries.of_messages(record.message.id for record in records)
        owner = {"owner": mapping.device_id}
        base = self._context.storage_url
        return self._context.renderer.page(
            request.scope,
            "device.html",
            mapping=mapping,
            mask=mask,
            rows=[(record, deliveries.get(record.message.id, [])) for record in records],
            page=page,
            newer_url=address(f"/mapping/{ref}", page=page - 1) if page > 1 else "",
            older_url=address(f"/mapping/{ref}", page=page + 1) if len(found) > PAGE_ROWS else "",
            storage_links=[(name, address(f"{base}/store/{name}", **owner)) for name in ("offers", "searches")]
            if base
            else [],
            done=_DONE.get(request.query_params.get("done", "")),
        )

    async def form(self, request: Request) -> Response:
        """Show the form of a registration. A GET that registered a device in the old system is refused."""
        if "device_id" in request.query_params:
            raise RequestFailed(
                405, "method_not_allowed", "GET registers nothing. Use POST.", headers={"Allow": "POST"}
            )
        return self._form(request, {}, "")

    async def clone(self, request: Request, ref: str) -> Response:
        """Show the form of a registration with the values of a device."""
        mapping = await self._mapping(ref)
        values = {name: getattr(mapping, name) for name in FIELDS if name not in ("webpush", "callback_key")}
        return self._form(request, values, mask(mapping.device_id))

    async def text_form(self, request: Request, ref: str) -> Response:
        """Show the form of a free text. An address of the old system has the device id: it leads to that of the ref."""
        if (device := await self._context.mappings.get(ref)) is not None:
            return RedirectResponse(f"/notification/{device.ref}", 307)
        mapping = await self._mapping(ref)
        return self._context.renderer.page(
            request.scope,
            "text.html",
            ref=ref,
            masked=mask(mapping.device_id),
            notification_id=f"text.{self._context.new_id()}",
        )

    async def delete(self, ref: str) -> Response:
        """Delete a mapping."""
        mapping = await self._mapping(ref)
        await self._context.mappings.delete(mapping.device_id)
        return redirect("/mappings", done="deleted")

    async def activate(self, ref: str) -> Response:
        """Let a callback be used again that was paused or retired."""
        mapping = await self._mapping(ref)
        changes: dict[str, Any] = {"callback_state": "", "callback_failing_since_ms": None}
        await self._context.mappings.set_callback(mapping.device_id, mapping.callback_url, changes)
        return redirect(f"/mapping/{ref}", done="activated")

    async def _mapping(self, ref: str) -> DeviceMapping:
        mapping = await self._context.mappings.by_ref(ref)
        if mapping is None:
            raise RequestFailed(404, "unknown_device", "This device is not registered, or not any more.")
        return mapping

    def _form(self, request: Request, values: dict[str, str], cloned: str) -> Response:
        return self._context.renderer.page(request.scope, "register.html", values=values, cloned=cloned)
