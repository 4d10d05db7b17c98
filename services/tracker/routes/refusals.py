"""Refuse a request before it reaches the application: malformed, too large, too slow, or over a bound.

A refusal is the last response of its connection. It follows the responses to earlier, pipelined requests, and then the
connection closes. Refusals are counted, but not logged: on a public port anyone could fill the log.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from services.tracker.metrics import Metrics
from services.tracker.routes import responses
from services.tracker.routes.connections import BoundedProtocol

NO_REFUSAL: Final = b""


class RefusingProtocol(BoundedProtocol):
    """A connection that can end with a refusal, also when a head takes too long."""

    def __init__(self, *args: Any, metrics: Metrics, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._metrics = metrics
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = False
        self._overloaded = False
        self._refusal: bytes | None = None
        """The last response of the connection, or NO_REFUSAL when the connection closes after earlier responses.

        While it is set, the connection ignores all data that arrives.
        """

    def _await_head(self, timeout_s: float) -> None:
        self._head_timer = self.loop.call_later(timeout_s, self._refuse_late_head)

    def _end_head(self) -> None:
        self._head_bytes = 0
        self._in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse_late_head(self) -> None:
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
        """Send a refusal after the responses to earlier requests, and close the connection."""
        self._end_head()
        if self._refusal is not None or self.transport.is_closing():
            return
        self._metrics.requests.labels("unknown", str(status)).inc()
        lines = [b"HTTP/1.1 %d %s" % (status, responses.reason_phrase(status)), b"connection: close"]
        headers = [*responses.HEADERS, (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        lines += [b"%s: %s" % header for header in (*headers, *extra)]
        self._refusal = b"\r\n".join(lines) + b"\r\n\r\n" + body
        last: RequestResponseCycle | None = self.cycle
        if last is None or (last.response_complete and not last.more_body):
            self._send_refusal()
        elif not last.more_body:
            pass  # on_response_complete sends the refusal after the responses to the earlier, complete requests
        elif self.pipeline:
            self.pipeline.popleft()  # the newest request is incomplete, and the refusal is its response
        elif last.response_started:
            self.transport.close()  # a client would take a second response for the response to its next request
        else:
            last.disconnected = True  # the application must neither store the request nor respond to it
            last.message_event.set()
            self._send_refusal()

    def _send_refusal(self) -> None:
        if self._refusal is not None and not self.transport.is_closing():
            self.transport.write(self._refusal)
            self.transport.close()
            self._await_reader()
