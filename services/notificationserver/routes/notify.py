"""`POST /notify`, `POST /notification` and `POST /sendbird/...`: store a notification, then respond."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import Request, Response
from starlette.responses import RedirectResponse

from services.backbone.names import notify_content_key
from services.notificationserver.core.notifications import (
    ID_FORM,
    InvalidNotification,
    Notice,
    Notification,
    TextNotice,
    UnknownApp,
    content_id,
    digest_of,
    is_id,
    parse_chat,
    parse_match,
)
from services.notificationserver.core.registrations import MAX_DEVICE_CHARACTERS, MAX_URL_CHARACTERS
from services.notificationserver.core.signatures import is_from_chat_provider
from services.notificationserver.routes.context import NotifyContext
from services.notificationserver.routes.requests import RequestFailed, json_response, read_body, read_fields
from services.notificationserver.store.windows import WindowRequest

SIGNATURE_HEADER: Final = "x-sendbird-signature"
MAX_TEXT_CHARACTERS: Final = 5_000
_SIGNATURE_CHARACTERS: Final = 64
_MOST_OPEN_BODIES: Final = 256
"""The webhooks whose bodies arrive at once: 64 MiB of memory with the default NOTIFY_MAX_BODY_BYTES."""
_OVERLAP_MS: Final = 250
"""How much longer a request without an id counts as a repeat than the rate limit lasts. Otherwise it could get a new id
just before the limit ends, and would be suppressed instead of sent."""


class NotifyRoutes:
    """Takes notifications. Each is stored under its id before the response; a repeated id changes nothing."""

    def __init__(self, context: NotifyContext) -> None:
        self._context = context
        self._open_bodies = 0
        """The webhooks whose bodies arrive."""

    async def match(self, request: Request) -> Response:
        """Take a match."""
        body = await read_body(request, max_bytes=self._context.settings.max_body_bytes)
        try:
            notification_id, notice = parse_match(body, header_id=request.headers.get("idempotency-key", ""))
        except InvalidNotification as error:
            raise RequestFailed(422, "invalid", str(error)) from None
        return await self._accept(notification_id or await self._id_of(notice), notice, "match")

    async def free_text(self, request: Request) -> Response:
        """Take a free text for a device."""
        sent = await read_fields(request, max_bytes=self._context.settings.max_body_bytes)
        return await self._accept_text(request, sent, sent.get("deviceid") or "")

    async def text_of_page(self, request: Request, ref: str) -> Response:
        """Take the form of a free text. Its page has no device id."""
        sent = await read_fields(request, max_bytes=self._context.settings.max_body_bytes)
        mapping = await self._context.mappings.by_ref(ref)
        if mapping is None:
            raise _unknown_device()
        await self._accept_text(request, sent, mapping.device_id)
        return RedirectResponse(f"/mapping/{ref}?done=sent", 303)

    async def _accept_text(self, request: Request, sent: Mapping[str, Any], device_id: Any) -> Response:
        text, url = (sent.get(name) or "" for name in ("msg", "url"))
        errors: dict[str, str] = {}
        if sent.get("type", "freeform") != "freeform":
            errors["type"] = "must be freeform"
        for name, value, most in (("deviceid", device_id, MAX_DEVICE_CHARACTERS), ("msg", text, MAX_TEXT_CHARACTERS)):
            if not isinstance(value, str) or len(value) > most or not value.strip():
                errors[name] = f"must be a text of 1 to {most} characters, not only spaces"
        if not isinstance(url, str) or len(url) > MAX_URL_CHARACTERS:
            errors["url"] = f"must be a text of at most {MAX_URL_CHARACTERS} characters, or blank"
        notification_id = sent.get("id") or request.headers.get("idempotency-key", "")
        if notification_id and not is_id(notification_id):
            errors["id"] = f"must be {ID_FORM}"
        if errors:
            detail = "; ".join(f"{name}: {reason}" for name, reason in errors.items())
            raise RequestFailed(422, "invalid", detail, fields=errors)
        if await self._context.mappings.get(device_id) is None:
            raise _unknown_device()
        notice = TextNotice(device_id, text, url)
        return await self._accept(notification_id or await self._id_of(notice), notice, "text")

    async def chat(self, request: Request) -> Response:
        """Take a webhook of the chat provider. Without its signature nothing is stored."""
        settings = self._context.settings
        if not settings.sendbird_app_id:
            raise RequestFailed(404, "not_found", "no app of the chat provider is configured (SENDBIRD_APP_ID)")
        body = await self._signed_body(request)
        try:
            found = parse_chat(body, app_id=settings.sendbird_app_id)
        except UnknownApp as error:
            raise RequestFailed(404, "not_found", str(error)) from None
        except InvalidNotification as error:
            raise RequestFailed(422, "invalid", str(error)) from None
        if found is None:  # joins, reads and the like
            return json_response({"status": "ok"})
        return await self._accept(*found, "chat", status=200)

    async def _signed_body(self, request: Request) -> bytes:
        """Return the body of a webhook. Raises RequestFailed without its signature.

        Anybody can send one, so few bodies are in memory at a time, and none without a possible signature.
        """
        settings, signature = self._context.settings, request.headers.get(SIGNATURE_HEADER, "")
        if self._open_bodies >= _MOST_OPEN_BODIES:
            raise RequestFailed(503, "busy", "too many webhooks arrive at once", headers={"Retry-After": "1"})
        body = b""
        if len(signature.strip()) == _SIGNATURE_CHARACTERS:
            self._open_bodies += 1
            try:
                body = await read_body(request, max_bytes=settings.max_body_bytes)
            finally:
                self._open_bodies -= 1
        if not is_from_chat_provider(body, signature, token=settings.sendbird_token.get_secret_value()):
            self._context.metrics.refused.labels("signature").inc()
            raise RequestFailed(401, "signature", f"{SIGNATURE_HEADER} is not the signature of this body")
        return body

    async def _id_of(self, notice: Notice) -> str:
        """Return an id for a notice without one: that of the same content within the rate limit."""
        digest = digest_of(notice)
        key = notify_content_key(digest)
        limit_ms = round(1000 * self._context.settings.rate_limit_s)
        new = content_id(digest, self._context.new_id())
        holders = await self._context.windows.take([WindowRequest(key, new, limit_ms + _OVERLAP_MS)])
        # Without Redis, equal requests of the same moment get the same id.
        return holders.get(key) or content_id(digest, str(self._context.now_ms() // limit_ms))

    async def _accept(self, notification_id: str, notice: Notice, kind: str, *, status: int = 202) -> Response:
        notification = Notification(notification_id, self._context.now_ms(), notice)
        is_new = await self._context.accept.submit(notification)
        counter = self._context.metrics.accepted if is_new else self._context.metrics.repeated
        counter.labels(kind).inc()
        if is_new:
            self._context.on_accepted()
        return json_response({"status": "ok", "id": notification_id}, status)


def _unknown_device() -> RequestFailed:
    return RequestFailed(404, "unknown_device", "this device is not registered")
