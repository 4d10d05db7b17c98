"""The HTTP/1.1 protocol of the public port: uvicorn's protocol with additional bounds.

uvicorn buffers a request's head without a limit, and refuses targets over 64 KiB. This protocol bounds the size and the
time of a head and the number of connections, so all heads together are bounded. A target may be as long as an event.
Malformed requests leave no line in the log.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from services.tracker import core
from services.tracker.metrics import Metrics
from services.tracker.routes import responses
from services.tracker.routes.connections import ConnectionBounds
from services.tracker.routes.direct import DirectGet, DirectGets, is_bodyless
from services.tracker.routes.parser import ConnectionEnded, HeadRefused, create_parser, head_without_upgrade
from services.tracker.routes.refusals import NO_REFUSAL, RefusingProtocol
from services.tracker.store import NotStored

# Grace period for a connection over the limit. Clients may discard a response that arrives before they send a request.
_OVERLOADED_S: Final = 1.0
_CLOSE: Final = (b"connection", b"close")


class CollectorProtocol(RefusingProtocol):
    """One connection of the public port."""

    def __init__(  # noqa: PLR0913 - the bounds of a connection
        self,
        *args: Any,
        max_event_bytes: int,
        max_header_bytes: int,
        head_timeout_s: float,
        bounds: ConnectionBounds,
        metrics: Metrics,
        direct: DirectGets | None = None,
        is_stopping: Callable[[], bool] = bool,
        **kwargs: Any,
    ) -> None:
        """Configure a connection.

        A head may have `max_event_bytes` + `max_header_bytes` bytes, and may take `head_timeout_s`. A connection over
        `bounds`, and a request over the budget for buffers, gets a 503 and the connection closes. With `direct`, plain
        GETs bypass the application (routes/direct.py). While `is_stopping` returns True, each response closes its
        connection, so clients and proxies connect to another tracker before this port closes.
        """
        super().__init__(*args, metrics=metrics, bounds=bounds, read_timeout_s=head_timeout_s, **kwargs)
        self.parser = create_parser(self)
        self._max_event_bytes = max_event_bytes
        self._max_head_bytes = max_event_bytes + max_header_bytes
        self._head_timeout_s = head_timeout_s
        self._direct = direct
        self._is_stopping = is_stopping
        self._half_closed_timer: asyncio.TimerHandle | None = None
        self._running: RequestResponseCycle | None = None
        """The request that the application processes. `cycle` is the request that arrived last (pipelining)."""
        self._idle_since_s: float | None = None
        """The loop's time of the last response; None while a request is in process."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's signature
        """Start the time limit of the first head."""
        super().connection_made(transport)
        self._overloaded = self._peer is None
        if self._overloaded and not self._is_graced:
            self._refuse_overloaded()
        else:
            self._await_head(_OVERLOADED_S if self._overloaded else self._head_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers and stop the application."""
        self._end_head()
        if self._half_closed_timer is not None:
            self._half_closed_timer.cancel()
        if self._running is not None:
            self._running.disconnected = True  # uvicorn sets it for `cycle` only
            self._running.message_event.set()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's signature; uvicorn never returns True
        """Keep a half-closed connection open until all complete requests have a response, then close it.

        A client may close its side after its last request and still read the response (RFC 9112, 9.6).
        """
        last = self.cycle
        if last is None or last.response_complete:
            return False
        self._end_head()  # drops an incomplete head
        if last.more_body:
            if not self.pipeline:
                return False
            self.pipeline.popleft()  # the last request, which stays incomplete
        elif self._refusal is None:
            last.keep_alive = False
        if self._refusal is None:
            self._refusal = NO_REFUSAL
        if self._half_closed_timer is None:
            # No other timer limits a client that does not read.
            self._half_closed_timer = self.loop.call_later(self._head_timeout_s, self.transport.abort)
        return True

    def data_received(self, data: bytes) -> None:
        """Parse data. Refuse the next request when it is malformed, its head too large, or a budget used up."""
        self._idle_since_s = None
        if self._refusal is not None:
            return
        if self._overloaded:
            self._refuse_overloaded()
            return
        # The callbacks below reset this count, so it counts the bytes since the last head or piece of a body. After a
        # body it counts trailers, which uvicorn does not bound.
        self._head_bytes += len(data)
        if not self._parse(data):
            return
        if self._head_bytes > self._max_head_bytes:
            self._refuse(413, responses.too_large("the request line and its headers", self._max_event_bytes))
        elif self._in_head or self._head_bytes:
            # A head that follows another request in `data` has no count yet; `data` is at least as long.
            if not self._may_buffer_fields(self._head_bytes or len(data), is_head=self._in_head):
                self._refuse_overloaded()
            elif self._head_timer is None:
                self._await_head(self._head_timeout_s)

    def _parse(self, data: bytes) -> bool:
        """Feed the parser, which calls the methods below. Return False when the request is refused."""
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                if self.parser.get_method() == b"CONNECT":
                    self._refuse(405, responses.METHOD_NOT_ALLOWED)
                    return False
                data = head_without_upgrade(self.parser, self.url, self.headers) + data[offer.args[0] :]
                self.parser = create_parser(self)
            except httptools.HttpParserCallbackError as error:
                cause = error.__context__
                if isinstance(cause, HeadRefused):
                    status, code, detail = cause.error
                    self._refuse(status, responses.error(code, detail))
                elif not isinstance(cause, ConnectionEnded):
                    raise  # a bug, not a fault of the client
                return False
            except httptools.HttpParserError:
                self._refuse(400, responses.error("malformed", "this is not HTTP/1.1"))
                return False
            else:
                break
        return True

    def on_message_begin(self) -> None:
        """Begin a request. The objects that the application needs are created in `_hand_over`."""
        if self._refusal is not None:
            raise ConnectionEnded
        self.url = b""
        self.headers = []
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a field to the head. Trailers, the fields after a body, are ignored: proxies check heads only.

        The parser keeps white space after a value, which is not part of the value (RFC 9110, 5.5).
        """
        if self._in_head:
            self.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """Refuse an invalid head, submit a plain GET to the store, or hand the request to the application."""
        self._end_head()
        parser = self.parser
        if parser.should_upgrade():
            return  # _parse reads this head again without the upgrade
        version = parser.get_http_version()
        fields = core.header_fields(self.headers)
        error = core.head_error(version, self.headers, fields)
        if error is not None:
            raise HeadRefused(error)
        path, query = core.split_target(self.url)
        if self._direct is not None and self._submit_directly(self._direct, version, fields, path, query):
            # The next request may arrive much later, and the head is not counted as buffered until then.
            self.url, self.headers = b"", []
        elif self._may_hand_over():
            self._hand_over(version, fields, path, query)
        else:
            self._refuse_overloaded()

    def _submit_directly(
        self, direct: DirectGets, version: str, fields: Mapping[bytes, bytes], path: bytes, query: bytes
    ) -> bool:
        parser = self.parser
        if (
            parser.get_method() != b"GET"
            or version != "1.1"
            or not is_bodyless(fields)
            or core.is_long(len(self.url), fields)
            or not (self.cycle is None or self.cycle.response_complete)
            or self.flow.write_paused
            or self.client is None
        ):
            return False
        received = core.Request(path, query, self.headers, self.client[0], time.time_ns() // 1_000_000)
        image = core.wants_image(path, fields.get(b"accept", b""))
        get = DirectGet(parser.should_keep_alive() and not self._is_stopping())

        def on_stored(refusal: NotStored | None) -> None:
            self._send_direct(get, direct.response(refusal, image=image, keep_alive=get.keep_alive))

        try:
            direct.begin(received, fields, on_stored)
        except core.Refused:
            return False  # the application sends the reason
        except NotStored as refusal:
            self.cycle = get  # type: ignore[assignment]  # see DirectGet
            on_stored(refusal)
        except Exception as bug:  # noqa: BLE001 - it is logged, counted and gets a response
            self.cycle = get  # type: ignore[assignment]  # see DirectGet
            self._send_direct(get, direct.failed(bug, received, keep_alive=get.keep_alive))
        else:
            self.cycle = get  # type: ignore[assignment]  # see DirectGet
        return True

    def _send_direct(self, get: DirectGet, response: bytes) -> None:
        get.response_complete = True
        if get.disconnected or self.transport.is_closing():
            return
        self.transport.write(response)
        if not get.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _hand_over(self, version: str, fields: Mapping[bytes, bytes], path: bytes, query: bytes) -> None:
        headers = self.headers
        super().on_message_begin()
        self.headers = headers
        # An HTTP/1.0 client does not understand 100 (RFC 9110, 10.1.1).
        self.expect_100_continue = version == "1.1" and fields.get(b"expect", b"").lower() == b"100-continue"
        if self._is_stopping():
            headers.append(_CLOSE)  # as if the client had sent it, so that uvicorn's response closes the connection
        self.scope["headers"] = headers
        self.url = b"/"  # uvicorn parses this; the scope gets the real target below, before the request's task runs
        super().on_headers_complete()
        self.url, self.headers = b"", []  # the request's scope holds them
        self.cycle.keep_alive = self.cycle.keep_alive and not self._is_stopping()
        self.scope["raw_path"] = path
        self.scope["path"] = path.decode("ascii", "replace")
        self.scope["query_string"] = query

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Pass a piece of the body to the application."""
        self._head_bytes = 0
        if self._refusal is not None:
            return
        super().on_body(body)
        if not self.cycle.response_started and not self._may_buffer_body(body):
            self._refuse_overloaded()

    def on_message_complete(self) -> None:
        """End the request. A direct GET has no body and has ended with its head."""
        if self._refusal is not None:
            return
        cycle = self.cycle
        if not isinstance(cycle, DirectGet):
            self._end_head()
            if self.parser.should_upgrade():
                return
            cycle.more_body = False
            cycle.message_event.set()
        if not cycle.keep_alive:
            self._refusal = NO_REFUSAL  # after `Connection: close` no request follows (RFC 9112, 9.6)

    def on_response_complete(self) -> None:
        """Continue with the next pipelined request or with the refusal, or wait for another request.

        Differs from uvicorn's method in the timer for idle connections. uvicorn creates a timer for each response, a
        tenth of the time of a response. Here a connection has one timer; when it ends, it checks how long the
        connection was idle.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._await_reader()
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        if self._buffered_bytes and not self._in_head:
            self._release_request()
        self._idle_since_s = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._check_idle_in(self.timeout_keep_alive)
        self._send_refusal()

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection when it was idle for long enough, else set the timer to the earliest such time."""
        self.timeout_keep_alive_task = None
        if self._idle_since_s is None:
            return  # a request is in process; its response sets a new timer
        left_s = self._idle_since_s + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._check_idle_in(left_s)
        else:
            super().timeout_keep_alive_handler()
            self._await_reader()

    def _release_request(self) -> None:
        """Release the request that has its response."""
        self._release_buffers()
        if not isinstance(self.cycle, DirectGet):
            self.scope = self.cycle.scope = {}  # type: ignore[typeddict-item]  # uvicorn does not read it again

    def _check_idle_in(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)
