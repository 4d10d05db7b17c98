"""TrackerClient: sends the events of our own services to the tracker.

The contract: `POST /w/<type>` with the parameters as a form, and the event's id in the header Idempotency-Key. A 2xx
response means that the event is stored. An event that is sent again under its id is the same event.
"""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import httpx

from services.backbone.backoff import Backoff

_ATTEMPTS: Final = 3
_RETRY_LATER: Final = frozenset({401, 403, 404, 405, 408, 425, 429})
"""The 4xx that another configuration or another time changes. The other ones reject the event itself."""


class EventUnavailable(Exception):
    """The tracker did not accept the event. It may have stored it. Send it again later under the same id."""


class EventRefused(Exception):
    """The tracker rejects this event. To send it again does not help."""


class TrackerClient:
    """Sends events. An async context manager."""

    def __init__(self, url: str, *, timeout_s: float = 3.0, max_connections: int = 16) -> None:
        """Limit each step of a request (connect, write, read) to `timeout_s`."""
        self._url = url.rstrip("/")
        limits = httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections)
        # trust_env: the setting decides where the tracker is, not a proxy variable of the environment.
        self._client = httpx.AsyncClient(timeout=timeout_s, limits=limits, trust_env=False)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def send(self, event_type: str, params: Mapping[str, str], *, event_id: str) -> None:
        """Send an event, with at most 3 attempts. Returns after a 2xx.

        Raises EventUnavailable or EventRefused.
        """
        backoff = Backoff(first_s=0.1, longest_s=1.0)
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(backoff.next_s())
            reason = await self._send(event_type, params, event_id)
            if not reason:
                return
        raise EventUnavailable(reason)

    async def _send(self, event_type: str, params: Mapping[str, str], event_id: str) -> str:
        """Return the reason of a failure that a retry may cure, or an empty string."""
        headers = {"Idempotency-Key": event_id, "User-Agent": "push"}
        try:
            response = await self._client.post(
                f"{self._url}/w/{quote(event_type, safe='')}", data=dict(params), headers=headers
            )
        except httpx.HTTPError as error:
            return f"{type(error).__name__}: {error}"
        if response.is_client_error and response.status_code not in _RETRY_LATER:
            raise EventRefused(f"status {response.status_code}")
        return "" if response.is_success else f"status {response.status_code}"
