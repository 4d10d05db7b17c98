"""The pages of messages: the list, and the timeline of a notification."""

from fastapi import Request, Response

from services.notificationserver.core.mappings import ref_of
from services.notificationserver.core.timelines import mask, timeline, timeline_without_messages
from services.notificationserver.routes.pages.site import PAGE_ROWS, PageContext, address, page_number
from services.notificationserver.routes.requests import RequestFailed


class MessagePages:
    """Shows why, when and how a message was sent."""

    def __init__(self, context: PageContext) -> None:
        self._context = context

    async def list(self, request: Request) -> Response:
        """Show the messages, newest first."""
        text, page = request.query_params.get("q", "").strip(), page_number(request)
        found = await self._context.messages.page(text=text, skip=PAGE_ROWS * (page - 1), limit=PAGE_ROWS + 1)
        records = found[:PAGE_ROWS]
        deliveries = await self._context.deliveries.of_messages(record.message.id for record in records)
        return self._context.renderer.page(
            request.scope,
            "messages.html",
            rows=[(record, deliveries.get(record.message.id, [])) for record in records],
            text=text,
            page=page,
            newer_url=address("/messages", q=text, page=page - 1) if page > 1 else "",
            older_url=address("/messages", q=text, page=page + 1) if len(found) > PAGE_ROWS else "",
        )

    async def timeline(self, request: Request, notification_id: str) -> Response:
        """Show the messages of a notification with their steps, or why there is none."""
        notification, page = await self._context.notifications.get(notification_id), page_number(request)
        found = await self._context.messages.of_notification(
            notification_id, skip=PAGE_ROWS * (page - 1), limit=PAGE_ROWS + 1
        )
        records = found[:PAGE_ROWS]
        if not records and notification is None:
            raise RequestFailed(404, "unknown_notification", "This notification is unknown, or it has expired.")
        deliveries = await self._context.deliveries.of_messages(record.message.id for record in records)
        others = {record.suppressed_by or record.merged_into for record in records} - {""}
        linked = await self._context.messages.get_many(others)
        return self._context.renderer.page(
            request.scope,
            "timeline.html",
            notification_id=notification_id,
            own_steps=timeline_without_messages(notification) if notification and not records and page == 1 else [],
            page=page,
            previous_url=address("", page=page - 1) if page > 1 else "",
            next_url=address("", page=page + 1) if len(found) > PAGE_ROWS else "",
            rows=[
                (
                    record,
                    mask(record.message.device_id),
                    ref_of(record.message.device_id),
                    timeline(record, deliveries.get(record.message.id, [])),
                )
                for record in records
            ],
            notification_of={message.id: message.notification_id for message in linked.values()},
        )
