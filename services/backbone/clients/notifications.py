"""NotificationClient: reports matches to the notificationserver.

The contract: `POST /notify` with the JSON body of `MatchNotification`, and its id also in the header Idempotency-Key.
The server responds 2xx when it has stored the notification, and acts once on each id. The names of the fields are those
of the old system.
"""

from typing import Literal

import msgspec

from services.backbone.clients.errors import RequestRefused, ServiceUnavailable
from services.backbone.clients.own_service import ServiceClient


class NotifiedObject(msgspec.Struct, frozen=True):
    """One side of a match."""

    id: str
    device_id: str
    """The owner, whom the notificationserver notifies."""
    title: str
    lat: float
    lng: float
    """The public location, unless the owner shows the true one: the other side receives it."""
    radi: float
    """The radius in metres."""


class MatchNotification(msgspec.Struct, frozen=True):
    """The encounter of a search and an offer."""

    id: str
    """`<search>.<offer>.<encounter>`."""
    offer: NotifiedObject
    search: NotifiedObject
    category: Literal["match_found"] = "match_found"


NotificationUnavailable = ServiceUnavailable
"""Raised while the notification is not accepted. Send it again later under the same id."""
NotificationRefused = RequestRefused
"""Raised when the notification itself is rejected. To send it again does not help."""


class NotificationClient(ServiceClient):
    """Sends notifications. An async context manager."""

    async def notify(self, notification: MatchNotification) -> None:
        """Send a notification, with at most `attempts` requests. Returns after a 2xx.

        Raises NotificationUnavailable or NotificationRefused.
        """
        headers = {"Content-Type": "application/json", "Idempotency-Key": notification.id}
        await self._client.post(f"{self._url}/notify", msgspec.json.encode(notification), headers)
