"""The HTTP/1.1 protocol of the public port: uvicorn's, with bounds where it has none.

uvicorn holds a request's head, however long, until it ends, and refuses targets over 64 KiB. Here a head is bounded in
size and time, and connections in number, so that all heads together have a bound; a target may be as long as an
event; and what is malformed is answered without a line in the log: on a public port that line would be anyone's to
write.
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
from services.tracker.routes.connections import BoundedProtocol, ConnectionBounds
from services.tracker.routes.direct import DirectGet, DirectGets, is_bodyless
from services.tracker.routes.parser import ConnectionEnded, HeadRefused, create_parser, head_without_upgrade
from services.tracker.store import NotStored

# How long a connection too many may take to begin a request: one that is answered before it sends may never read it.
_OVERLOADED_S: Final = 1.0
_CLOSE: Final = (b"connection", b"close")
_NOTHING: Final = b""


class CollectorProtocol(BoundedProtocol):
    """One connection."""

    def __init__(  # noqa: PLR0913 - what bounds a connection; bundling it would only hide it
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
        """Answer plain GETs without the application when `direct` is given (see routes.direct).

        While `is_stopping`, each answer says that the connection closes, so that clients and proxies have opened
        others, elsewhere, before the port is gone.

        Allow a head `max_event_bytes` + `max_header_bytes` in size, and `head_timeout_s` to come.

        A connection beyond `bounds`, and a request that would buffer more than they allow, is answered 503 and closed.
        """
        super().__init__(*args, bounds=bounds, read_timeout_s=head_timeout_s, **kwargs)
        self.parser = create_parser(self)
        self._max_event_bytes = max_event_bytes
        self._max_head_bytes = max_event_bytes + max_header_bytes
        self._head_timeout_s = head_timeout_s
        self._metrics = metrics
        self._direct = direct
        self._is_stopping = is_stopping
        self._head_timer: asyncio.TimerHandle | None = None
        self._half_closed_timer: asyncio.TimerHandle | None = None
        self._running: RequestResponseCycle | None = None
        """The request that the application has; `cycle` is the last one that arrived (pipelining)."""
        self._idle_since_s: float | None = None
        """When the last answer was given, by the loop's clock; None while a request is on its way."""
        self._head_bytes = 0
        self._in_head = False
        self._overloaded = False
        self._refusal: bytes | None = None
        """The last response of the connection, sent after those to earlier requests; empty when these are the last.

        Once it is set, everything that arrives is ignored.
        """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._overloaded = self._peer is None
        if self._overloaded and not self._is_graced:
            self._refuse_overloaded()
        else:
            self._await_head(_OVERLOADED_S if self._overloaded else self._head_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._got_head()
        if self._half_closed_timer is not None:
            self._half_closed_timer.cancel()
        if self._running is not None:
            self._running.disconnected = True  # uvicorn does so for `cycle` only
            self._running.message_event.set()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's signature; uvicorn never returns True
        """Keep a half-closed connection open until all requests that came whole have a response, then close it.

        A client may end its side right behind its last request and still read the response (RFC 9112, 9.6).
        """
        last = self.cycle
        if last is None or last.response_complete:
            return False
        self._got_head()  # what came of another head is dropped
        if last.more_body:
            if not self.pipeline:
                return False
            self.pipeline.popleft()  # the last request; it never comes whole
        elif self._refusal is None:
            last.keep_alive = False
        if self._refusal is None:
            self._refusal = _NOTHING
        if self._half_closed_timer is None:
            # Nothing else bounds the wait for a client that does not read.
            self._half_closed_timer = self.loop.call_later(self._head_timeout_s, self.transport.abort)
        return True

    def data_received(self, data: bytes) -> None:
        """Parse what came; refuse the connection's next request when it is malformed or its head has no end."""
        self._idle_since_s = None
        if self._refusal is not None:
            return
        if self._overloaded:
            self._refuse_overloaded()
            return
        # Set back by the callbacks below; so it counts what came since a head or a piece of a body ended. What follows
        # a body may be trailers, which uvicorn would collect without end as well.
        self._head_bytes += len(data)
        if not self._parse(data):
            return
        if self._head_bytes > self._max_head_bytes:
            self._refuse(413, responses.too_large("the request line and its headers", self._max_event_bytes))
        elif self._in_head or self._head_bytes:
            # A head that began behind another request in `data` has no count yet; it is no longer than `data`.
            if not self._may_buffer_fields(self._head_bytes or len(data), is_head=self._in_head):
                self._refuse_overloaded()
            elif self._head_timer is None:
                self._await_head(self._head_timeout_s)

    def _parse(self, data: bytes) -> bool:
        """Feed the parser, whose callbacks follow below; False when what came is refused."""
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                if self.parser.get_method() == b"CONNECT":
                    self._refuse(405, responses.error("method", f"methods are {responses.METHODS}"))
                    return False
                data = head_without_upgrade(self.parser, self.url, self.headers) + data[offer.args[0] :]
                self.parser = create_parser(self)
            except httptools.HttpParserCallbackError as error:
                cause = error.__context__
                if isinstance(cause, HeadRefused):
                    status, code, detail = cause.error
                    self._refuse(status, responses.error(code, detail))
                elif not isinstance(cause, ConnectionEnded):
                    raise  # our own error, not the client's
                return False
            except httptools.HttpParserError:
                self._refuse(400, responses.error("malformed", "this is not HTTP/1.1"))
                return False
            else:
                break
        return True

    def on_message_begin(self) -> None:
        """Begin a request. What the application needs of it is made when it is known to need it."""
        if self._refusal is not None:
            raise ConnectionEnded
        self.url = b""
        self.headers = []
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head. A field behind the body (a trailer) is ignored: proxies check heads only."""
        if self._in_head:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Refuse an ambiguous head, respond to a plain GET, or hand the request over, its target split by our rule."""
        self._got_head()
        parser = self.parser
        if parser.should_upgrade():
            return  # data_received begins this request anew
        version = parser.get_http_version()
        fields = core.header_fields(self.headers)
        error = core.head_error(version, self.headers, fields)
        if error is not None:
            raise HeadRefused(error)
        path, query = core.split_target(self.url)
        if self._direct is not None and self._responds_directly(self._direct, version, fields, path, query):
            # The next request may be long in coming: what is held until then is not counted.
            self.url, self.headers = b"", []
        elif self._may_hand_over():
            self._hand_over(version, fields, path, query)
        else:
            self._refuse_overloaded()

    def _responds_directly(
        self, direct: DirectGets, version: str, fields: Mapping[bytes, bytes], path: bytes, query: bytes
    ) -> bool:
        parser = self.parser
        if (
            parser.get_method() != b"GET"
            or version != "1.1"
            or not is_bodyless(fields)
            or not (self.cycle is None or self.cycle.response_complete)
            or self.flow.write_paused
            or self.client is None
        ):
            return False
        received = core.Request(path, query, self.headers, self.client[0], time.time_ns() // 1_000_000)
        image = core.wants_image(path, fields.get(b"accept", b""))
        get = DirectGet(parser.should_keep_alive() and not self._is_stopping())

        def on_stored(refusal: NotStored | None) -> None:
            self._respond(get, direct.response(refusal, image=image, keep_alive=get.keep_alive))

        try:
            direct.begin(received, fields, on_stored)
        except core.Refused:
            return False  # the application says why
        except NotStored as refusal:
            self.cycle = get  # type: ignore[assignment]  # see DirectGet
            on_stored(refusal)
        except Exception as bug:  # noqa: BLE001 - it is logged, counted and answered
            self.cycle = get  # type: ignore[assignment]  # see DirectGet
            self._respond(get, direct.failed(bug, received, keep_alive=get.keep_alive))
        else:
            self.cycle = get  # type: ignore[assignment]  # see DirectGet
        return True

    def _respond(self, get: DirectGet, whole: bytes) -> None:
        get.response_complete = True
        if get.disconnected or self.transport.is_closing():
            return
        self.transport.write(whole)
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
            headers.append(_CLOSE)  # as if the client had asked for it: uvicorn's answer then says so
        self.scope["headers"] = headers
        self.url = b"/"  # what uvicorn's parser makes of the target is replaced below, before the request's task runs
        super().on_headers_complete()
        self.url, self.headers = b"", []  # the request has them; a field behind its body is none of its headers
        self.cycle.keep_alive = self.cycle.keep_alive and not self._is_stopping()
        self.scope["raw_path"] = path
        self.scope["path"] = path.decode("ascii", "replace")
        self.scope["query_string"] = query

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._head_bytes = 0
        if self._refusal is not None:
            return
        super().on_body(body)
        if not self.cycle.response_started and not self._may_buffer_body(body):
            self._refuse_overloaded()

    def on_message_complete(self) -> None:
        """End the request; one that is answered directly has no body and ended with its head."""
        if self._refusal is not None:
            return
        cycle = self.cycle
        if not isinstance(cycle, DirectGet):
            self._got_head()
            if self.parser.should_upgrade():
                return
            cycle.more_body = False
            cycle.message_event.set()
        if not cycle.keep_alive:
            self._refusal = _NOTHING  # a client that asks to close sends no further request (RFC 9112, 9.6)

    def on_response_complete(self) -> None:
        """Go on to the next pipelined request, or to the connection's last answer, or wait for another request.

        As uvicorn has it, but for the timer that closes idle connections: uvicorn makes one an answer, which costs a
        tenth of it. Here a connection has one, which looks, when its time is over, how long nothing came.
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
            self._look_whether_idle_in(self.timeout_keep_alive)
        self._send_refusal()

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection when it was idle for long enough, else look again when it may have been."""
        self.timeout_keep_alive_task = None
        if self._idle_since_s is None:
            return  # the answer to what has come makes a new timer
        left_s = self._idle_since_s + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._look_whether_idle_in(left_s)
        else:
            super().timeout_keep_alive_handler()
            self._await_reader()

    def _release_request(self) -> None:
        """Let go of the request that is responded to."""
        self._release_buffers()
        if not isinstance(self.cycle, DirectGet):
            self.scope = self.cycle.scope = {}  # type: ignore[typeddict-item]  # uvicorn reads it no more

    def _look_whether_idle_in(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _await_head(self, timeout_s: float) -> None:
        self._head_timer = self.loop.call_later(timeout_s, self._give_up)

    def _got_head(self) -> None:
        self._head_bytes = 0
        self._in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        if self._overloaded:
            self._refuse_overloaded()
        else:
            self._refuse(408, responses.error("timeout", "the request took too long"))

    def _refuse_overloaded(self) -> None:
        self._metrics.refused.labels("overloaded").inc()
        self._refuse(
            503,
            responses.error("overloaded", "too many connections or too large requests at a time; send it again"),
            responses.RETRY_AFTER,
        )

    def _refuse(self, status: int, body: bytes, *extra: tuple[bytes, bytes]) -> None:
        """Answer what never became a request, after the answers to those before it, and close the connection."""
        self._got_head()
        if self._refusal is not None or self.transport.is_closing():
            return
        self._metrics.requests.labels("unknown", str(status)).inc()
        lines = [b"HTTP/1.1 %d %s" % (status, responses.reason_phrase(status)), b"connection: close"]
        headers = [*responses.HEADERS, (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        lines += [b"%s: %s" % header for header in (*headers, *extra)]
        self._refusal = b"\r\n".join(lines) + b"\r\n\r\n" + body
        cycle = self.cycle
        if cycle is None or (cycle.response_complete and not cycle.more_body):
            self._send_refusal()
        elif not cycle.more_body:
            pass  # all before it have come whole and are being answered: on_response_complete sends it
        elif self.pipeline:
            self.pipeline.popleft()  # the newest, which never came whole: this is its answer
        elif cycle.response_started:
            self.transport.close()  # no second answer inside the first, nor behind it: it would be the next request's
        else:
            cycle.disconnected = True  # the application must neither store it nor respond as well
            cycle.message_event.set()
            self._send_refusal()

    def _send_refusal(self) -> None:
        if self._refusal is not None and not self.transport.is_closing():
            self.transport.write(self._refusal)
            self.transport.close()
            self._await_reader()
