"""NotificationClient: reports matches to the notificationserver.

The contract: `POST /notify` with the JSON body of `MatchNotification`, and its id also in the header Idempotency-Key.
The server responds 2xx when it has stored the notification, and acts once on each id. The names of the fields are those
of the old system.
"""

import asyncio
from types import TracebackType
from typing import Any, Final, Literal, Self

import httpx
import msgspec

from services.backbone.backoff import Backoff

_ATTEMPTS: Final = 3
_RETRY_LATER: Final = frozenset({401, 403, 404, 408, 425, 429})
"""The 4xx that another configuration or another time changes. The other ones reject the notification itself."""


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


class NotificationUnavailable(Exception):
    """The notificationserver did not accept the notification. It may have stored it. Send it again later."""


class NotificationRefused(Exception):
    """The notificationserver rejects this notification. To send it again does not help."""


class NotificationClient:
    """Sends notifications. An async context manager."""

    def __init__(
        self, url: str, *, credentials: tuple[str, str] | None = None, timeout_s: float = 3.0, max_connections: int = 16
    ) -> None:
        """Limit each step of a request (connect, write, read) to `timeout_s`. `credentials` are for HTTP Basic."""
        self._url = f"{url.rstrip('/')}/notify"
        limits = httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections)
        # trust_env: the setting decides where the server is, not a proxy variable of the environment.
        self._client = httpx.AsyncClient(auth=credentials, timeout=timeout_s, limits=limits, trust_env=False)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def notify(self, notification: MatchNotification) -> None:
        """Send a notification, with at most 3 attempts. Returns after a 2xx.

        Raises NotificationUnavailable or NotificationRefused.
        """
        backoff = Backoff(first_s=0.1, longest_s=1.0)
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(backoff.next_s())
            reason = await self._send(notification)
            if not reason:
                return
        raise NotificationUnavailable(reason)

    async def _send(self, notification: MatchNotification) -> str:
        """Return the reason of a failure that a retry may cure, or an empty string."""
        headers: dict[str, Any] = {"Content-Type": "application/json", "Idempotency-Key": notification.id}
        try:
            response = await self._client.post(self._url, content=msgspec.json.encode(notification), headers=headers)
        except httpx.HTTPError as error:
            return f"{type(error).__name__}: {error}"
        if response.is_client_error and response.status_code not in _RETRY_LATER:
            raise NotificationRefused(f"status {response.status_code}")
        return "" if response.is_success else f"status {response.status_code}"
