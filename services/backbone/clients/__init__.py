"""The clients of our own services: typed requests with time limits and bounded retries."""

from services.backbone.clients.notifications import (
    MatchNotification,
    NotificationClient,
    NotificationRefused,
    NotificationUnavailable,
    NotifiedObject,
)

__all__ = [
    "MatchNotification",
    "NotificationClient",
    "NotificationRefused",
    "NotificationUnavailable",
    "NotifiedObject",
]
