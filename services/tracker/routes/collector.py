"""Collector: stores the events of a request and builds the response."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final, TypeVar
from uuid import UUID

import msgspec
from fastapi import Request, Response
from starlette.requests import ClientDisconnect
from uuid_utils import uuid7

from services.backbone.addresses import erase_address, own_address
from services.backbone.events import RawEvent, encode_raw
from services.backbone.logs import get_logger
from services.tracker import core
from services.tracker.metrics import Metrics
from services.tracker.routes import responses
from services.tracker.routes.decoding import Decoders
from services.tracker.store import EventStore, NotStored, OnStored

log = get_logger(__name__)

T = TypeVar("T")

_METHODS: Final = frozenset(responses.METHODS.split(", "))

_STATUS: Final[Mapping[type[core.Refused], tuple[int, str]]] = {
    core.Malformed: (400, "malformed"),
    core.TooLarge: (413, "too_large"),
    core.Unsupported: (415, "unsupported"),
}
_EVENT_SIZE: Final = "MAX_EVENT_BYTES"
_BATCH_SIZE: Final = "TRACKER_MAX_BATCH_BYTES"
_BATCH_EVENTS: Final = "TRACKER_MAX_BATCH_EVENTS"
# Maximum number of different paths in the log of misplaced batches. Clients choose the paths.
_MOST_LOGGED_PATHS: Final = 100
# Entries of a batch that are decoded in one slice: 0.4 ms for usual entries.
_SLICE_ENTRIES: Final = 100
_LONGEST_LOGGED_PATH: Final = 200


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of size and time for requests."""

    event_bytes: int
    batch_bytes: int
    batch_events: int
    all_bodies_bytes: int
    body_timeout_s: float


class Result(msgspec.Struct, omit_defaults=True):
    """The result of one entry of a batch."""

    index: int
    status: str
    id: str = ""
    reason: str = ""


class BatchResponse(msgspec.Struct):
    """The response to a batch."""

    status: str
    stored: int
    refused: int
    results: list[Result]


class _BodyNotReceived(Exception):
    """Raised when a body is not received completely, with the response to send."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code


class Collector:
    """Handles the requests of the public port."""

    def __init__(self, store: EventStore, rules: core.Rules, limits: Limits, metrics: Metrics) -> None:
        self._store = store
        self._rules = rules
        self._limits = limits
        self._metrics = metrics
        self._held_bytes = 0
        self._decoders = Decoders(wait_s=limits.body_timeout_s)
        self._logged_paths: set[bytes] = set()

    async def collect(self, request: Request) -> Response:
        """Store the event of a GET, HEAD or POST."""
        return await self._responding(request, self._collect)

    def begin_get(self, received: core.Request, fields: Mapping[bytes, bytes], on_stored: OnStored) -> None:
        """Submit the event of a GET without a body to the store. `on_stored` gets the result (EventStore.submit).

        Raises Refused and NotStored; then `on_stored` is not called.
        """
        event = core.event_of_request(received, fields, self._rules, new_id=str(uuid7()))
        self._store.submit([self._encode(event)], on_stored)

    async def collect_batch(self, request: Request) -> Response:
        """Store the events of a batch."""
        return await self._responding(request, self._collect_batch)

    async def preflight(self, request: Request) -> Response:
        """Respond to OPTIONS."""
        requested = request.headers.get("access-control-request-headers", "").encode("latin-1")
        return self._respond(request, 204, b"", extra=responses.preflight_headers(requested))

    async def refuse_method(self, request: Request) -> Response:
        """Respond 405 to an unsupported method."""
        return self._respond(
            request, 405, responses.METHOD_NOT_ALLOWED, extra=((b"allow", responses.METHODS.encode()),)
        )

    async def _collect(self, request: Request, received: core.Request, fields: Mapping[bytes, bytes]) -> Response:
        if request.method == "POST":
            async with self._body(request, fields, self._limits.event_bytes, _EVENT_SIZE) as body:
                entry, batch_path = await self._decoders.run(
                    body, partial(self._read_event, received, fields), inline=not _is_long(received, fields)
                )
                if batch_path:
                    self._count_batch_as_event(batch_path)
                await self._store.store([entry])
            return self._respond(request, 200, responses.OK)
        # The body of a GET or HEAD has no meaning. It is read so that a request with invalid framing is not stored.
        async with self._body(request, fields, self._limits.event_bytes, _EVENT_SIZE) as body:
            entry = await self._decoders.run(
                body, partial(self._read_get, received, fields), inline=not _is_long(received, fields)
            )
        await self._store.store([entry])
        if core.wants_image(received.path, fields.get(b"accept", b"")):
            return self._respond(request, 200, responses.GIF, content_type=b"image/gif")
        return self._respond(request, 200, responses.OK)

    def _read_get(self, received: core.Request, fields: Mapping[bytes, bytes], _body: bytes | bytearray) -> bytes:
        return self._encode(core.event_of_request(received, fields, self._rules, new_id=str(uuid7())))

    def _read_event(
        self, received: core.Request, fields: Mapping[bytes, bytes], body: bytes | bytearray
    ) -> tuple[bytes, bytes]:
        """Return the encoded event of a POST, and its path for the log if its body is a batch (else b"")."""
        data = bytes(body)
        params = core.params_of_body(fields.get(b"content-type", b""), data)
        event = core.event_of_request(received, fields, self._rules, new_id=str(uuid7()), body_params=params)
        entry = self._encode(event)
        if not core.is_plainly_batch(data):
            return entry, b""
        # No log keeps a client's address. The path of a visitor who opted out is without it already.
        return entry, erase_address(event, own_address(event.address)).path

    def _count_batch_as_event(self, path: bytes) -> None:
        self._metrics.batches_as_events.inc()
        path = path[:_LONGEST_LOGGED_PATH]
        if path not in self._logged_paths and len(self._logged_paths) < _MOST_LOGGED_PATHS:
            self._logged_paths.add(path)
            log.warning(
                "batch_stored_as_one_event",
                path=path.decode("ascii", "replace"),
                hint="if clients send batches to this path, add it to TRACKER_BATCH_PATHS",
            )

    async def _collect_batch(self, request: Request, received: core.Request, fields: Mapping[bytes, bytes]) -> Response:
        async with self._body(request, fields, self._limits.batch_bytes, _BATCH_SIZE) as body:
            entries, results = await self._decoders.run_in_slices(body, partial(self._read_batch, received, fields))
            if entries:
                await self._store.store(entries)
        refused = len(results) - len(entries)
        if refused:
            self._metrics.refused.labels("entry").inc(refused)
        return self._respond(request, 200, msgspec.json.encode(BatchResponse("ok", len(entries), refused, results)))

    def _read_batch(
        self, received: core.Request, fields: Mapping[bytes, bytes], body: bytes | bytearray
    ) -> Generator[None, None, tuple[list[bytes], list[Result]]]:
        """Return the encoded events and the results of a batch. Yield after each slice of entries."""
        limits = core.BatchLimits(self._limits.batch_events, _BATCH_EVENTS, self._limits.event_bytes, _EVENT_SIZE)
        batch = core.read_batch(fields.get(b"content-type", b""), body, limits, received_at_ms=received.received_at_ms)
        sender = core.sender_of(received, fields, self._rules)
        budget = core.Budget()
        room = core.ENCODED_PER_BATCH_BYTE * self._limits.batch_bytes
        entries: list[bytes] = []
        results: list[Result] = []
        # Slices of the same work run faster than one entry after the other: 0.3 us of 4.4 an entry.
        while part := list(islice(batch, _SLICE_ENTRIES)):
            for entry in part:
                if isinstance(entry, core.Refused):
                    results.append(Result(len(results), "refused", reason=str(entry)))
                    continue
                try:
                    event, notes = core.event_of_batch_entry(
                        entry,
                        sender,
                        self._rules,
                        received_at_ms=received.received_at_ms,
                        new_id=str(uuid7()),
                        budget=budget,
                    )
                except core.TooLarge as error:
                    results.append(Result(len(results), "refused", reason=str(error)))
                    continue
                encoded = encode_raw(event)
                if len(encoded) > self._limits.event_bytes:
                    refusal = core.TooLarge("the event", self._limits.event_bytes, _EVENT_SIZE)
                    results.append(Result(len(results), "refused", event.id, str(refusal)))
                    continue
                room -= len(encoded)
                if room < 0:
                    what = "the events of the batch, each with the headers of the request,"
                    limit = core.ENCODED_PER_BATCH_BYTE * self._limits.batch_bytes
                    raise core.TooLarge(what, limit, f"2 x {_BATCH_SIZE}")
                entries.append(encoded)
                results.append(Result(len(results), "stored", event.id, "; ".join(notes)))
            yield
        return entries, results

    def _encode(self, event: RawEvent) -> bytes:
        entry = encode_raw(event)
        if len(entry) > self._limits.event_bytes:
            raise core.TooLarge("the event", self._limits.event_bytes, _EVENT_SIZE)
        return entry

    async def _responding(
        self,
        request: Request,
        collect: Callable[[Request, core.Request, Mapping[bytes, bytes]], Awaitable[Response]],
    ) -> Response:
        """Call `collect`, and turn each kind of failure into its response."""
        scope = request.scope
        peer = scope["client"][0] if scope["client"] else None
        now_ms = time.time_ns() // 1_000_000
        received = core.Request(scope["raw_path"], scope["query_string"], scope["headers"], peer, now_ms)
        try:
            return await collect(request, received, core.header_fields(received.headers))
        except core.Refused as refusal:
            status, code = _STATUS[type(refusal)]
            limit = {"limit": refusal.limit} if isinstance(refusal, core.TooLarge) else {}
            return self._refusal(request, status, responses.error(code, str(refusal), **limit), code)
        except _BodyNotReceived as refusal:
            return self._refusal(request, refusal.status, responses.error(refusal.code, str(refusal)), refusal.code)
        except NotStored as error:
            # The store has counted the refused events.
            return self._respond(request, 503, responses.not_stored(error.reason), extra=(responses.RETRY_AFTER,))
        except ClientDisconnect:
            # The client has disconnected and gets no response. nginx counts such requests as 499, too.
            return self._refusal(request, 499, b"", "gone")
        except Exception as bug:  # noqa: BLE001 - it is logged, counted and gets a response
            return self._respond(request, 500, report_bug(bug, received))

    @contextlib.asynccontextmanager
    async def _body(
        self, request: Request, fields: Mapping[bytes, bytes], limit: int, setting: str
    ) -> AsyncIterator[core.Body]:
        """Receive a body and wait for its turn to be decoded. Its bytes count as held until the block ends."""
        encoding = fields.get(b"content-encoding", b"") if request.method == "POST" else b""
        body = core.Body(encoding, limit=limit, setting=setting)
        # The parser accepts any number of zeros before a size. int() raises for more than 4,300 digits.
        if int(b"0" + fields.get(b"content-length", b"").lstrip(b"0")) > limit:
            raise core.TooLarge("the body", limit, setting)
        held = 0
        try:
            async with asyncio.timeout(self._limits.body_timeout_s):
                async for chunk in request.stream():
                    body.feed(chunk)
                    held += len(chunk)
                    self._held_bytes += len(chunk)
                    if self._held_bytes > self._limits.all_bodies_bytes:
                        raise _BodyNotReceived(503, "overloaded", "too many bodies arrive at a time; send it again")
        except TimeoutError:
            raise _BodyNotReceived(408, "timeout", "the request took too long") from None
        else:
            try:
                async with self._decoders.turn(body):
                    yield body
            except TimeoutError:
                raise _BodyNotReceived(503, "overloaded", "too many bodies wait to be decoded; send it again") from None
        finally:
            self._held_bytes -= held

    def _refusal(self, request: Request, status: int, body: bytes, reason: str) -> Response:
        self._metrics.refused.labels(reason).inc()
        extra = (responses.RETRY_AFTER,) if status == 503 else ()  # noqa: PLR2004 - an HTTP status
        return self._respond(request, status, body, extra=extra, kind=responses.ClosingResponse)

    def _respond(  # noqa: PLR0913 - the parts of a response
        self,
        request: Request,
        status: int,
        body: bytes,
        *,
        content_type: bytes = b"application/json",
        extra: tuple[tuple[bytes, bytes], ...] = (),
        kind: type[Response] = Response,
    ) -> Response:
        method = request.method if request.method in _METHODS else "other"
        self._metrics.requests.labels(method, str(status)).inc()
        response = kind(body, status)
        if body:
            response.raw_headers.append((b"content-type", content_type))
        response.raw_headers += [*responses.HEADERS, *extra]
        return response


def _is_long(received: core.Request, fields: Mapping[bytes, bytes]) -> bool:
    return core.is_long(len(received.path) + len(received.query), fields)


def report_bug(bug: Exception, received: core.Request) -> bytes:
    """Log an exception that no request should cause, and return the body of the response.

    The log has the client's id, so that the client's developers can find the line. It has UUIDs only, since another id
    may contain personal data.
    """
    log.error("request_failed", id=_id_of(received), exc_info=bug)
    return responses.error("bug", "internal error; send it again")


def _id_of(received: core.Request) -> str:
    """Return the client's id if it is a UUID, else empty text."""
    given = core.header_fields(received.headers).get(b"idempotency-key", b"")
    try:
        return str(UUID(core.client_id(given.decode("utf-8", "replace")) or ""))
    except ValueError:
        return ""
