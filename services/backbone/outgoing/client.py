"""OutgoingClient: requests to foreign URLs, with the address check, time limits and size limits."""

import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from services.backbone.outgoing.addresses import IpNetwork, refusal_of
from services.backbone.outgoing.decoding import ACCEPTED_CODINGS, BodyDecoder, BodyRefused, DownloadLimits
from services.backbone.outgoing.resolver import ThreadResolver

_Result = TypeVar("_Result")
_MAX_URL_CHARACTERS: Final = 2_048
_DNS_CACHE_S: Final = 30


class _Sockets:
    """What happened to the addresses of a request."""

    __slots__ = ("any_made", "refusals")

    def __init__(self) -> None:
        self.any_made = False
        self.refusals: list[str] = []


_sockets: ContextVar[_Sockets] = ContextVar("sockets")
"""The sockets of the request of this task. The client reports only the text of errors of a socket factory."""


class OutgoingRefused(Exception):
    """No connection was opened: the URL or the address is not allowed. The message is the reason.

    It has no path and no query of the URL, which may be secrets.
    """


class OutgoingFailed(Exception):
    """There is no response: the name, the connection, TLS or the time limit failed. The message is the reason.

    It has no path and no query of the URL, and no part of the response.
    """


class OutgoingResponse(NamedTuple):
    """The response to a request. Redirects are not followed."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    """At most `max_body_bytes`; the rest is not read."""
    is_cut: bool = False
    """Whether the body ended before its announced end, or did not end within the time limit."""


class OutgoingDownload(NamedTuple):
    """A response with its decoded body. Redirects are not followed."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_bytes: int
    """The size of the body before decompression."""
    is_cut: bool
    """Whether the body ended before its announced end. A body without a length and with a closed connection at its end
    has none."""


class OutgoingClient:
    """Sends requests to foreign URLs. An async context manager.

    It connects to global unicast addresses only (`refusal_of`), reads no proxy from the environment, follows no
    redirect, and keeps no cookie. Names that resolve to several addresses are reached at the allowed ones.
    """

    def __init__(  # noqa: PLR0913 - limits, and what tests replace
        self,
        *,
        timeout_s: float = 15.0,
        max_body_bytes: int = 65_536,
        allowed: Sequence[IpNetwork] = (),
        resolver: AbstractResolver | None = None,
        ssl_context: Any = True,
        connect_timeout_s: float | None = None,
        read_timeout_s: float | None = None,
    ) -> None:
        """Limit a whole request to `timeout_s`. Build it while the event loop runs.

        `connect_timeout_s` limits each connection, and `read_timeout_s` each wait for a piece of the response.
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
            timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=connect_timeout_s, sock_read=read_timeout_s),
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

        Raises OutgoingRefused or OutgoingFailed. After OutgoingFailed the receiver may have the request. With a status,
        the receiver has it, so an error in the body is none: see `is_cut`.
        """

        async def read(response: aiohttp.ClientResponse) -> OutgoingResponse:
            return OutgoingResponse(response.status, response.headers, *await self._read(response))

        return await self._exchange(method, url, body, headers, read)

    async def download(
        self,
        method: str,
        url: str,
        *,
        limits: DownloadLimits,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> OutgoingDownload:
        """Send one request and return its response, decompressed while it arrives, whatever its status is.

        Raises OutgoingRefused or OutgoingFailed, and BodyRefused for a body beyond the limits.
        """
        asked = {"Accept-Encoding": ACCEPTED_CODINGS, **(headers or {})}

        async def read(response: aiohttp.ClientResponse) -> OutgoingDownload:
            decoder = BodyDecoder(response.headers.get("Content-Encoding", ""), limits)
            is_cut = False
            try:
                async for piece in response.content.iter_any():
                    decoder.add(piece)
                    if decoder.is_full:
                        response.close()  # the connection has unread bytes
                        break
            except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, ConnectionError) as error:
                if isinstance(error, TimeoutError):
                    raise
                is_cut = True
            is_cut = is_cut or (decoder.received_bytes > 0 and not decoder.is_complete and not decoder.is_full)
            content = bytes(decoder.content)
            return OutgoingDownload(response.status, response.headers, content, decoder.received_bytes, is_cut)

        return await self._exchange(method, url, body, asked, read)

    async def _exchange(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: Mapping[str, str] | None,
        read: Callable[[aiohttp.ClientResponse], Awaitable[_Result]],
    ) -> _Result:
        check_url(url)
        sockets = _Sockets()
        reset = _sockets.set(sockets)
        try:
            # Sent as it is: a receiver may compare or sign its URL. Other characters than ASCII have to be encoded.
            async with self._session.request(
                method, URL(url, encoded=url.isascii()), data=body, headers=headers, allow_redirects=False
            ) as response:
                return await _closed_after_errors(response, read)
        except TimeoutError as error:
            raise OutgoingFailed("no complete response within the time limit") from error
        except aiohttp.InvalidURL as error:  # such as an IPv4 address in an old notation
            raise OutgoingRefused(f"the URL is not accepted; its host is {urlsplit(url).hostname}"[:300]) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if sockets.refusals and not sockets.any_made:
                raise OutgoingRefused("; ".join(dict.fromkeys(sockets.refusals))) from error
            raise OutgoingFailed(_reason(error)[:300]) from error
        finally:
            _sockets.reset(reset)

    async def post(self, url: str, *, body: bytes, headers: Mapping[str, str]) -> OutgoingResponse:
        """Send a POST. See `request`."""
        return await self.request("POST", url, body=body, headers=headers)

    async def _read(self, response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
        """Return the body and whether it is cut."""
        content, is_cut = bytearray(), False
        try:
            async for piece in response.content.iter_any():
                content += piece
                if len(content) > self._max_body_bytes:
                    response.close()  # the connection has unread bytes
                    break
        except (aiohttp.ClientPayloadError, aiohttp.ClientConnectionError, ConnectionError, TimeoutError):
            response.close()
            is_cut = True
        return bytes(content[: self._max_body_bytes]), is_cut

    def _make_socket(self, address: Any) -> socket.socket:
        family, kind, protocol, _, target = address
        sockets = _sockets.get(_Sockets())
        if reason := refusal_of(target[0], allowed=self._allowed):
            sockets.refusals.append(reason)
            raise PermissionError(reason)
        sockets.any_made = True
        return socket.socket(family, kind, protocol)


async def _closed_after_errors(
    response: aiohttp.ClientResponse, read: Callable[[aiohttp.ClientResponse], Awaitable[_Result]]
) -> _Result:
    """Return what `read` does. After a refused body the connection has unread bytes, maybe without an end."""
    try:
        return await read(response)
    except BodyRefused:
        response.close()
        raise


def _reason(error: Exception) -> str:
    """Return why there is no response. The texts of most errors have the URL or a part of the response."""
    name = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError):
        return f"{name}: {error}"  # the host and the error of the connection
    if isinstance(error, aiohttp.ClientResponseError):
        return f"{name}: the response is not valid HTTP"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{name}: {os.strerror(error.errno)}"
    return name


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
    try:
        parts.hostname.encode("idna")
    except UnicodeError:
        raise OutgoingRefused("the host of the URL is not a name") from None
    if parts.username is not None or parts.password is not None or "@" in parts.netloc or "\\" in url:
        raise OutgoingRefused("the URL has a user name or a backslash")
