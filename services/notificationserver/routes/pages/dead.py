"""The page of the dead list, and its replay."""

from urllib.parse import parse_qs

from fastapi import Request, Response

from services.notificationserver.core.messages import LIFE_MS
from services.notificationserver.core.timelines import mask
from services.notificationserver.routes.pages.site import PAGE_ROWS, PageContext, address, page_number, redirect
from services.notificationserver.routes.requests import RequestFailed, read_body
from services.notificationserver.store.deliveries import DeadFilter

_MAX_FORM_BYTES = 65_536


class DeadPages:
    """Shows the deliveries that failed for good, and makes them due again."""

    def __init__(self, context: PageContext) -> None:
        self._context = context

    async def list(self, request: Request) -> Response:
        """Show the dead list, newest first."""
        text, page = request.query_params.get("q", "").strip(), page_number(request)
        wanted = DeadFilter(text)
        found, total = await self._context.deliveries.dead_page(wanted, skip=PAGE_ROWS * (page - 1), limit=PAGE_ROWS)
        messages = await self._context.messages.get_many(delivery.message_id for delivery in found)
        replayed = request.query_params.get("replayed", "")
        return self._context.renderer.page(
            request.scope,
            "dead.html",
            rows=[(delivery, messages.get(delivery.message_id), mask(delivery.device_id)) for delivery in found],
            total=total,
            text=text,
            page=page,
            pages=max(1, -(-total // PAGE_ROWS)),
            page_url=lambda number: address("/dead", q=text, page=number),
            replayed=replayed if replayed.isdigit() else "",
        )

    async def replay(self, request: Request) -> Response:
        """Make the chosen deliveries due again, or all that match the search."""
        form = parse_qs((await read_body(request, max_bytes=_MAX_FORM_BYTES)).decode("utf-8", "replace"))
        text = form.get("q", [""])[0]
        if form.get("what", [""])[0] == "all":
            wanted = DeadFilter(text)
        elif ids := tuple(form.get("id", ())):
            wanted = DeadFilter(ids=ids)
        else:
            raise RequestFailed(422, "nothing_chosen", "No delivery was chosen. Choose one, or replay all that match.")
        number = await self._context.deliveries.replay(wanted, now_ms=self._context.now_ms(), life_ms=LIFE_MS)
        self._context.wake()
        return redirect("/dead", q=text, replayed=number)
