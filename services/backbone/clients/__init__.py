"""The clients of our own services: typed requests with time limits and bounded retries."""

from services.backbone.clients.errors import RETRY_LATER, RequestRefused, ServiceFailed, ServiceUnavailable
from services.backbone.clients.images import ImageClient, ImageFailed, ImageRejected, ImageUnavailable
from services.backbone.clients.notifications import (
    MatchNotification,
    NotificationClient,
    NotificationRefused,
    NotificationUnavailable,
    NotifiedObject,
)
from services.backbone.clients.storage import ExtdataOffer, ReadOffer, StorageClient
from services.backbone.clients.tracker import EventRefused, EventUnavailable, TrackerClient

__all__ = [
    "RETRY_LATER",
    "EventRefused",
    "EventUnavailable",
    "ExtdataOffer",
    "ImageClient",
    "ImageFailed",
    "ImageRejected",
    "ImageUnavailable",
    "MatchNotification",
    "NotificationClient",
    "NotificationRefused",
    "NotificationUnavailable",
    "NotifiedObject",
    "ReadOffer",
    "RequestRefused",
    "ServiceFailed",
    "ServiceUnavailable",
    "StorageClient",
    "TrackerClient",
]
