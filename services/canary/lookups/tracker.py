"""TrackerDoor: the tracker as a visitor meets it."""

from types import TracebackType
from typing import Self

import httpx

_TYPE = "canary"


class NoResponse(Exception):  # noqa: N818 - what happened, in two words
    """The tracker did not answer 2xx. The event may be stored all the same."""


class TrackerDoor:
    """Sends events by GET, each on a connection of its own, as a visitor's would be. An async context manager."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        """Each request may take `timeout_s` in all."""
        self._url = url
        # What the environment says of proxies and certificates is not asked: a setting says where the tracker is.
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=0)
        self._client = httpx.AsyncClient(timeout=timeout_s, limits=limits, trust_env=False)

    async def __aenter__(self) -> Self:
        """Return the door; nothing is opened yet."""
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what is open."""
        await self._client.__aexit__(kind, error, trace)

    async def send(self, canary: str, device: str) -> None:
        """Send one event with this id. Raises NotAnswered, which says what came instead of a 2xx."""
        try:
            response = await self._client.get(
                f"{self._url}/{_TYPE}",
                params={"di": device},
                headers={"Idempotency-Key": canary, "User-Agent": "push-canary"},
            )
        except httpx.HTTPError as error:
            raise NoResponse(f"{type(error).__name__}: {error}") from error
        if not response.is_success:
            raise NoResponse(f"status {response.status_code}")
