"""OwnServiceClient: requests to one of our own services, with time limits and bounded retries.

It uses aiohttp, because a request takes 0.07 ms of CPU time there and 0.9 ms in httpx (services/storage/matching.md).
Addresses that others choose belong to `backbone.outgoing`.
"""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, NamedTuple, Self

import aiohttp

from services.backbone.backoff import Backoff
from services.backbone.clients.errors import RETRY_LATER, RequestRefused, ServiceFailed, ServiceUnavailable

_FAILED: Final = frozenset({500, 501, 505, 507, 508})
"""The 5xx of a service that was reached. 502 to 504 come from a proxy, or from a service without its database."""


class OwnServiceResponse(NamedTuple):
    """The response to a request that succeeded."""

    status: int
    body: bytes


class OwnServiceClient:
    """Sends requests. An async context manager, which is built in a running event loop."""

    def __init__(
        self,
        *,
        credentials: tuple[str, str] | None = None,
        attempts: int = 3,
        timeout_s: float = 3.0,
        max_connections: int = 16,
    ) -> None:
        """Limit each step of a request (connect, read) to `timeout_s`. `credentials` are for HTTP Basic."""
        self._attempts = attempts
        # The defaults of aiohttp ignore proxy variables: the setting decides where the service is.
        self._session = aiohttp.ClientSession(
            headers=None if credentials is None else {"Authorization": _basic(*credentials)},
            connector=aiohttp.TCPConnector(limit=max_connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=timeout_s, sock_read=timeout_s),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def post(self, url: str, body: bytes | Sequence[tuple[str, str]], headers: Mapping[str, str]) -> bytes:
        """Send a body, or a form, with at most `attempts` requests. Return the body of the 2xx response.

        Raises ServiceUnavailable, which is ServiceFailed after a 500, or RequestRefused.
        """
        return (await self.send("POST", url, body, headers)).body

    async def get(self, url: str, headers: Mapping[str, str]) -> bytes:
        """Send a GET with at most `attempts` requests. Return the body of the 2xx response. Raises what `post` does."""
        return (await self.send("GET", url, None, headers)).body

    async def send(
        self,
        method: str,
        url: str,
        body: bytes | Sequence[tuple[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        also: frozenset[int] = frozenset(),
    ) -> OwnServiceResponse:
        """Send a request at most `attempts` times. Return the response after a 2xx or a status in `also`.

        Raises what `post` raises.
        """
        backoff = Backoff(first_s=0.1, longest_s=1.0)
        error = ServiceUnavailable("no attempt")
        for attempt in range(self._attempts):
            if attempt:
                await asyncio.sleep(backoff.next_s())
            found = await self._send(method, url, body, headers or {}, also)
            if isinstance(found, OwnServiceResponse):
                return found
            error = found
        raise error

    async def _send(
        self,
        method: str,
        url: str,
        body: bytes | Sequence[tuple[str, str]] | None,
        headers: Mapping[str, str],
        also: frozenset[int],
    ) -> OwnServiceResponse | ServiceUnavailable:
        """Return the response, or a failure that a retry may cure."""
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                content = await response.read()  # the connection is free for another request
        except (aiohttp.ClientError, TimeoutError) as error:
            return ServiceUnavailable(f"{type(error).__name__}: {error}")
        status = response.status
        if status < 300 or status in also:  # noqa: PLR2004 - success
            return OwnServiceResponse(status, content)
        if 400 <= status < 500 and status not in RETRY_LATER:  # noqa: PLR2004 - a client error
            raise RequestRefused(f"status {status}")
        return (ServiceFailed if status in _FAILED else ServiceUnavailable)(f"status {status}")


class ServiceClient:
    """The base of the clients with typed requests. An async context manager, which is built in a running event loop."""

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
        self._url = url.rstrip("/")
        self._client = OwnServiceClient(
            credentials=credentials, attempts=attempts, timeout_s=timeout_s, max_connections=max_connections
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)


def _basic(user: str, password: str) -> str:
    """Return the header of HTTP Basic (RFC 7617). The class of aiohttp for it is deprecated."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
