"""OutgoingClient: requests to foreign URLs, with the address check, time limits and size limits."""

import socket
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver

from services.backbone.outgoing.addresses import IpNetwork, refusal_of
from services.backbone.outgoing.resolver import ThreadResolver

_MAX_URL_CHARACTERS: Final = 2_048
_DNS_CACHE_S: Final = 30

_refusals: ContextVar[list[str]] = ContextVar("refusals")
"""The addresses that were refused during the request of this task. The client reports only the text of such errors."""


class OutgoingRefused(Exception):
    """No connection was opened: the URL or the address is not allowed. The message is the reason."""


class OutgoingFailed(Exception):
    """There is no response: the name, the connection, TLS or the time limit failed. The message is the reason."""


class OutgoingResponse(NamedTuple):
    """The response to a request. Redirects are not followed."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    """At most `max_body_bytes`; the rest is not read."""


class OutgoingClient:
    """Sends requests to foreign URLs. An async context manager.

    It connects to global unicast addresses only (`refusal_of`), reads no proxy from the environment, follows no
    redirect, and keeps no cookie. Names that resolve to several addresses are reached at the allowed ones.
    """

    def __init__(
        self,
        *,
        timeout_s: float = 15.0,
        max_body_bytes: int = 65_536,
        allowed: Sequence[IpNetwork] = (),
        resolver: AbstractResolver | None = None,
        ssl_context: Any = True,
    ) -> None:
        """Limit a whole request to `timeout_s`. Build it while the event loop runs.

        `allowed` are networks of the operator that may be reached too. The number of connections is not limited here:
        callers limit their requests. Tests give a `resolver` and an `ssl_context`.
        """
        self._max_body_bytes = max_body_bytes
        self._allowed = tuple(allowed)
        self._resolver = resolver or ThreadResolver()
        connector = aiohttp.TCPConnector(
            limit=0,
            resolver=self._resolver,
            ttl_dns_cache=_DNS_CACHE_S,
            socket_factory=self._make_socket,
            ssl=ssl_context,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # the size limit is one of received bytes
            trust_env=False,
            headers={"User-Agent": "push", "Accept-Encoding": "identity"},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
        await self._resolver.close()

    async def request(
        self, method: str, url: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> OutgoingResponse:
        """Send one request and return its response, whatever its status is.

        Raises OutgoingRefused or OutgoingFailed. After OutgoingFailed the receiver may have the request.
        """
        check_url(url)
        refusals: list[str] = []
        reset = _refusals.set(refusals)
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                content = await self._read(response)
                return OutgoingResponse(response.status, response.headers, content)
        except TimeoutError as error:
            raise OutgoingFailed("no complete response within the time limit") from error
        except aiohttp.InvalidURL as error:  # such as an IPv4 address in an old notation
            raise OutgoingRefused(f"the URL is not accepted: {error}"[:300]) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if refusals:
                raise OutgoingRefused("; ".join(dict.fromkeys(refusals))) from error
            raise OutgoingFailed(f"{type(error).__name__}: {error}"[:300]) from error
        finally:
            _refusals.reset(reset)

    async def post(self, url: str, *, body: bytes, headers: Mapping[str, str]) -> OutgoingResponse:
        """Send a POST. See `request`."""
        return await self.request("POST", url, body=body, headers=headers)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        content = bytearray()
        async for piece in response.content.iter_any():
            content += piece
            if len(content) > self._max_body_bytes:
                response.close()  # the connection has unread bytes
                return bytes(content[: self._max_body_bytes])
        return bytes(content)

    def _make_socket(self, address: Any) -> socket.socket:
        family, kind, protocol, _, target = address
        if reason := refusal_of(target[0], allowed=self._allowed):
            _refusals.get([]).append(reason)
            raise PermissionError(reason)
        return socket.socket(family, kind, protocol)


def check_url(url: str) -> None:
    """Raise OutgoingRefused unless it is an http or https URL with a host and without a user name."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise OutgoingRefused("the URL is malformed") from None
    if len(url) > _MAX_URL_CHARACTERS or not url.isprintable() or " " in url:
        raise OutgoingRefused(f"the URL has more than {_MAX_URL_CHARACTERS} characters, or spaces")
    if parts.scheme not in ("http", "https"):
        raise OutgoingRefused("the URL must begin with http:// or https://")
    if not parts.hostname:
        raise OutgoingRefused("the URL has no host")
    if parts.username is not None or parts.password is not None or "@" in parts.netloc or "\\" in url:
        raise OutgoingRefused("the URL has a user name or a backslash")
