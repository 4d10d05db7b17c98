"""CanaryClient: sends events to the tracker as a visitor's browser does."""

from types import TracebackType
from typing import Self

import httpx

_TYPE = "canary"


class NotAccepted(Exception):
    """The tracker did not respond 2xx. The event may be stored nevertheless."""


class CanaryClient:
    """Sends events by GET, each on a new connection, as a visitor does. An async context manager."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        """Limit each step of a request (connect, write, read) to `timeout_s`."""
        self._url = url
        # trust_env: the setting decides where the tracker is, not a proxy variable of the environment.
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=0)
        self._client = httpx.AsyncClient(timeout=timeout_s, limits=limits, trust_env=False)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def send(self, canary: str, device: str) -> None:
        """Send one event with the id `canary`.

        Raises NotAccepted with the status or the error unless the response is 2xx.
        """
        try:
            response = await self._client.get(
                f"{self._url}/{_TYPE}",
                params={"di": device},
                headers={"Idempotency-Key": canary, "User-Agent": "push-canary"},
            )
        except httpx.HTTPError as error:
            raise NotAccepted(f"{type(error).__name__}: {error}") from error
        if not response.is_success:
            raise NotAccepted(f"status {response.status_code}")
