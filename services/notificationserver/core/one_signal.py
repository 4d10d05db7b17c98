"""The request to OneSignal for one message."""

import uuid
from typing import Any, Final

import msgspec

from services.notificationserver.core.deliveries import Delivery
from services.notificationserver.core.messages import Message
from services.notificationserver.core.web_push import ttl_s

_NAMESPACE: Final = uuid.UUID("6f1d2c4e-3b0a-5d55-9a6e-0c6f7f1d9b15")


def one_signal_body(message: Message, *, app_id: str, player_id: str, delivery: Delivery, now_ms: int) -> bytes:
    """Return the JSON of a message. Its `idempotency_key` makes a repeated request one message."""
    languages = {"en", message.locale}  # OneSignal requires the texts in English
    content: dict[str, Any] = {
        "app_id": app_id,
        "include_subscription_ids": [player_id],
        "target_channel": "push",
        "idempotency_key": str(uuid.uuid5(_NAMESPACE, delivery.id)),
        "headings": dict.fromkeys(languages, message.title),
        "contents": dict.fromkeys(languages, message.body),
        "data": {**message.data, "sent_at": now_ms},
        "content_available": True,
        "ttl": ttl_s(expires_ms=delivery.expires_ms, now_ms=now_ms),
        "collapse_id": message.topic,
        "android_group": "push",
        "ios_badgeType": "Increase",
        "ios_badgeCount": 1,
    }
    if message.url:
        content["url"] = message.url
    return msgspec.json.encode(content)
