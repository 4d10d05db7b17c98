"""NotificationClient: reports matches to the notificationserver.

The contract: `POST /notify` with the JSON body of `MatchNotification`, and its id also in the header Idempotency-Key.
The server responds 2xx when it has stored the notification, and acts once on each id. The names of the fields are those
of the old system.
"""

from types import TracebackType
from typing import Literal, Self

import msgspec

from services.backbone.clients.errors import RequestRefused, ServiceUnavailable
from services.backbone.clients.own_service import OwnServiceClient


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


class NotificationClient:
    """Sends notifications. An async context manager."""

    def __init__(
        self,
        url: str,
        *,
        credentials: tuple[str, str] | None = None,
        attempts: int = 3,
        timeout_s: float = 3.0,
        max_connections: int = 16,
    ) -> None:
        """Limit each step of a request (connect, read) to `timeout_s`. `credentials` are for HTTP Basic."""
        self._url = f"{url.rstrip('/')}/notify"
        self._client = OwnServiceClient(
            credentials=credentials, attempts=attempts, timeout_s=timeout_s, max_connections=max_connections
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def notify(self, notification: MatchNotification) -> None:
        """Send a notification, with at most `attempts` requests. Returns after a 2xx.

        Raises NotificationUnavailable or NotificationRefused.
        """
        headers = {"Content-Type": "application/json", "Idempotency-Key": notification.id}
        await self._client.post(self._url, msgspec.json.encode(notification), headers)
