"""FeedFetcher: fetches the documents of a source."""

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import Final, NamedTuple, Protocol

import msgspec

from services.backbone.backoff import Backoff
from services.backbone.outgoing import (
    BodyRefused,
    DownloadLimits,
    OutgoingClient,
    OutgoingDownload,
    OutgoingFailed,
    OutgoingRefused,
)
from services.offerserver.core.documents import document_text
from services.offerserver.core.drafts import UnreadableFeed
from services.offerserver.core.exchanges import (
    MOST_HEAD_BYTES,
    MOST_REDIRECTS,
    RETRIED_STATUSES,
    HttpExchange,
    Validators,
    origin_of,
    redirect_of,
    shown_headers,
    wait_after_s,
)
from services.offerserver.core.importer import FeedDocument, FeedRequest
from services.offerserver.providers.robots import ROBOTS_LIMITS, RobotsDisallowed, RobotsRules, RobotsUnread

_POST_TO_GET: Final = frozenset({HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.FOUND, HTTPStatus.SEE_OTHER})
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 15.0


class FetchLimits(NamedTuple):
    """The limits of the requests of a run."""

    max_body_bytes: int = 10_000_000
    """After decompression."""
    attempts: int = 3
    longest_wait_s: float = 60.0
    """The longest Retry-After that is waited for. After a longer one the run fails, and the next one begins as
    planned."""


class HostTurns(Protocol):
    """Lets one process at a time send a request to a host."""

    def turn(self, origin: str, *, delay_s: float) -> AbstractAsyncContextManager[None]:
        """Wait for the turn. At its end, `delay_s` must pass before the next one. Raises TimeoutError."""


class DocumentFetcher(Protocol):
    """Returns documents: from the source, or from a file."""

    async def fetch(self, request: FeedRequest, validators: Validators | None = None) -> "FetchedDocument":
        """Return the document of a request. Raises FetchFailed."""


class FetchFailed(Exception):
    """There is no usable document. The message is the reason."""

    def __init__(self, reason: str, exchange: HttpExchange) -> None:
        super().__init__(reason)
        self.exchange = msgspec.structs.replace(exchange, error=reason)


class FetchedDocument(NamedTuple):
    """A document with its exchange."""

    document: FeedDocument | None
    """None: the document is the one of the validators (304)."""
    exchange: HttpExchange


class _Retry(Exception):
    """The attempt failed in a way that another one may cure."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class FeedFetcher:
    """Fetches documents. It sends one request to a host at a time, with a delay between two.

    Each address of a redirect is checked like the first one, and TLS certificates are verified.
    """

    def __init__(  # noqa: PLR0913 - its parts, and what tests replace
        self,
        client: OutgoingClient,
        turns: HostTurns,
        *,
        user_agent: str,
        delay_s: float = 1.0,
        limits: FetchLimits = FetchLimits(),  # noqa: B008 - it is immutable
        stand_in_url: str | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`user_agent` has a contact: some sources reject clients without one.

        `stand_in_url`: the server that gets the requests in place of the sources, as /HOST/PATH.
        """
        self._client = client
        self._turns = turns
        self._user_agent = user_agent
        self._delay_s = delay_s
        self._limits = limits
        self._stand_in_url = stand_in_url
        self._sleep = sleep
        self._robots = RobotsRules(self._get_robots)

    async def fetch(self, request: FeedRequest, validators: Validators | None = None) -> FetchedDocument:
        """Return the document of a request. With `validators`, the request is conditional.

        Raises FetchFailed: after `attempts` failures that a retry may cure, or after one of another kind.
        """
        began_s = time.monotonic()
        attempt = _Attempt(self, request, validators)
        backoff = Backoff(first_s=_FIRST_PAUSE_S, longest_s=_LONGEST_PAUSE_S)
        while True:
            try:
                found = await attempt.run()
                return FetchedDocument(found, attempt.exchange(began_s))
            except _Retry as error:
                wait_s = max(error.wait_s, backoff.next_s())
                if attempt.retries + 1 >= self._limits.attempts:
                    raise FetchFailed(str(error), attempt.exchange(began_s)) from error
                if error.wait_s > self._limits.longest_wait_s:
                    reason = f"{error}; it asks to wait for {error.wait_s:.0f} s"
                    raise FetchFailed(reason, attempt.exchange(began_s)) from error
                attempt.retries += 1
                await self._sleep(wait_s)
            except (OutgoingRefused, BodyRefused, RobotsDisallowed, UnreadableFeed) as error:
                raise FetchFailed(str(error), attempt.exchange(began_s)) from error

    async def send(self, request: FeedRequest, url: str, headers: dict[str, str]) -> OutgoingDownload:
        """Send one request in the turn of its host. Raises what OutgoingClient and RobotsRules do."""
        if self._stand_in_url is not None:
            url = f"{self._stand_in_url}/{url.partition('://')[2]}"
        delay_s = self._delay_s
        if request.kind == "page":
            delay_s = max(delay_s, await self._robots.check(url))
        limits = DownloadLimits(self._limits.max_body_bytes)
        method = "GET" if request.body is None else "POST"
        form = {"Content-Type": "application/x-www-form-urlencoded"} if request.body is not None else {}
        sent = {"User-Agent": self._user_agent, **form, **request.headers, **headers}
        async with self._turns.turn(origin_of(url), delay_s=delay_s):
            return await self._client.download(method, url, limits=limits, body=request.body, headers=sent)

    async def _get_robots(self, url: str) -> OutgoingDownload:
        headers = {"User-Agent": self._user_agent}
        async with self._turns.turn(origin_of(url), delay_s=self._delay_s):
            return await self._client.download("GET", url, limits=ROBOTS_LIMITS, headers=headers)


class _Attempt:
    """The attempts of one request, and what is known of the last one."""

    def __init__(self, fetcher: FeedFetcher, request: FeedRequest, validators: Validators | None) -> None:
        self._fetcher = fetcher
        self._request = request
        self._validators = validators
        self._found: OutgoingDownload | None = None
        self._redirects: tuple[str, ...] = ()
        self._is_used = False
        self.retries = 0

    async def run(self) -> FeedDocument | None:
        """Follow redirects, and return the document; None if it has not changed.

        Raises _Retry, or what can't be cured.
        """
        self._found, self._redirects, self._is_used = None, (), False
        request, url = self._request, self._request.url
        headers = {} if self._validators is None else self._validators.request_headers
        for _ in range(MOST_REDIRECTS + 1):
            found = self._found = await self._sent(request, url, headers)
            try:
                target = redirect_of(url, found.status, found.headers.get("Location", ""))
            except ValueError as error:
                raise UnreadableFeed(f"the redirect is refused: {error}") from None
            if target is None:
                return await asyncio.to_thread(self._read, found, url)  # decoding a large body takes a while
            url = target
            self._redirects += (url,)
            if found.status in _POST_TO_GET:
                request = msgspec.structs.replace(request, body=None)
        raise UnreadableFeed(f"more than {MOST_REDIRECTS} redirects")

    async def _sent(self, request: FeedRequest, url: str, headers: dict[str, str]) -> OutgoingDownload:
        try:
            return await self._fetcher.send(request, url, headers)
        except OutgoingFailed as error:
            raise _Retry(str(error)) from error
        except RobotsUnread as error:
            raise _Retry(str(error), error.wait_s) from error
        except TimeoutError as error:
            raise _Retry("another request to this host has not ended") from error

    def _read(self, found: OutgoingDownload, url: str) -> FeedDocument | None:
        status = found.status
        if status == HTTPStatus.NOT_MODIFIED and self._validators is not None:
            return None
        if status in RETRIED_STATUSES:
            now = dt.datetime.now(dt.UTC)
            raise _Retry(f"status {status}", wait_after_s(status, found.headers.get("Retry-After", ""), now))
        if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise UnreadableFeed(f"status {status}")
        text = document_text(found.body, content_type=found.headers.get("Content-Type", ""), kind=self._request.kind)
        self._is_used = True
        is_cut = found.is_cut or status == HTTPStatus.PARTIAL_CONTENT
        headers = {name.lower(): value for name, value in found.headers.items()}
        return FeedDocument(url=url, text=text, headers=headers, is_cut=is_cut)

    def exchange(self, began_s: float) -> HttpExchange:
        """Return what is known of the request."""
        found = self._found
        seconds = round(time.monotonic() - began_s, 3)
        if found is None:
            return HttpExchange(url=self._request.url, redirects=self._redirects, retries=self.retries, seconds=seconds)
        head = "" if self._is_used else found.body[:MOST_HEAD_BYTES].decode("utf-8", "replace")
        return HttpExchange(
            url=self._request.url,
            status=found.status,
            headers=shown_headers(found.headers),
            redirects=self._redirects,
            received_bytes=found.received_bytes,
            body_bytes=len(found.body),
            retries=self.retries,
            seconds=seconds,
            head=head,
        )
