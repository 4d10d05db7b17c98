"""The fast path: plain GETs are stored and get their response outside ASGI. Most requests are plain GETs.

    parser callback                          EventStore (one push for many requests)
    ---------------                          ---------------------------------------
    CollectorProtocol.on_headers_complete
      | plain GET?  -- no --> application (FastAPI), through uvicorn
      v yes
    DirectGets.begin  = Collector.begin_get
      | builds the event
      v
    EventStore.submit(entries, on_stored)    waits for the push in flight, then pushes
      returns at once                          |
                                               v  Redis or the spool has the event
    on_stored(None or NotStored)  <------------+  called on the event loop
      v
    CollectorProtocol._send_direct           writes the prebuilt response,
                                             then reads the next pipelined request

Control runs backwards from the store to the connection: `on_stored` is a function, since a future for each request
takes a sixth of its time. Until it is called, a DirectGet stands for the request in uvicorn's protocol.

Events and responses equal those of Collector.collect byte for byte; the tests of the HTTP contract run against both
paths. The application handles every other request: a request with a body, a long one (core.is_long), HTTP/1.0, an event
over the limit, a request that arrives before the response to the previous one, and a client that does not read its
responses.
"""

from collections.abc import Mapping
from typing import Final

from services.tracker import core
from services.tracker.metrics import Metrics
from services.tracker.routes import responses
from services.tracker.routes.collector import Collector, report_bug
from services.tracker.store import NotStored

_NOT_BODYLESS: Final = frozenset((b"content-length", b"transfer-encoding", b"expect"))


class _NoEvent:
    """Replaces the event by which uvicorn wakes an application that waits for a body."""

    def set(self) -> None:
        """Do nothing: no application waits."""


_NO_EVENT: Final = _NoEvent()


class DirectGet:
    """A GET that waits for the store.

    It takes the place of uvicorn's RequestResponseCycle, so uvicorn's rules for pipelined requests, for closing and for
    disconnected clients apply to it.
    """

    __slots__ = ("disconnected", "keep_alive", "response_complete")

    # Attributes that uvicorn reads. They are constant for requests without a body and with a prebuilt response.
    more_body: Final = False
    response_started: Final = False
    message_event: Final = _NO_EVENT

    def __init__(self, keep_alive: bool) -> None:  # noqa: FBT001 - built for each request; keywords take time
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_complete = False


class DirectGets:
    """Handles plain GETs outside ASGI and serves prebuilt responses."""

    def __init__(self, collector: Collector, metrics: Metrics) -> None:
        self.begin = collector.begin_get
        stored = (False, responses.OK, b"application/json"), (True, responses.GIF, b"image/gif")
        self._stored: Mapping[tuple[bool, bool], bytes] = {
            (image, keep_alive): responses.whole(200, body, content_type, keep_alive=keep_alive)
            for image, body, content_type in stored
            for keep_alive in (True, False)
        }
        self._metrics = metrics
        self._responded_200 = metrics.requests.labels("GET", "200")

    def response(self, refusal: NotStored | None, *, image: bool, keep_alive: bool) -> bytes:
        """Count and return the response: 200 for a stored event, 503 for a refusal."""
        if refusal is None:
            self._responded_200.inc()
            return self._stored[image, keep_alive]
        self._metrics.requests.labels("GET", "503").inc()
        body = responses.not_stored(refusal.reason)
        return responses.whole(503, body, b"application/json", responses.RETRY_AFTER, keep_alive=keep_alive)

    def failed(self, bug: Exception, received: core.Request, *, keep_alive: bool) -> bytes:
        """Log and count a bug, and return the response."""
        body = report_bug(bug, received)
        self._metrics.requests.labels("GET", "500").inc()
        return responses.whole(500, body, b"application/json", keep_alive=keep_alive)


def is_bodyless(fields: Mapping[bytes, bytes]) -> bool:
    """Return whether the headers announce no body (RFC 9112, 6)."""
    return _NOT_BODYLESS.isdisjoint(fields)
