"""GETs answered straight from the parser: most requests are GETs without a body, and need nothing of a framework.

The events and the answers are those of Collector.collect, byte for byte: the tests of the HTTP contract run against
both paths. Whatever is not plain is left to the application: a body, HTTP/1.0, an event over the limit, a request that
was sent before the answer to the one before it, a client that does not read.
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
    """Stands for the event by which uvicorn wakes an application that waits for a body."""

    def set(self) -> None:
        """Wake nobody."""


_NOBODY_WAITS: Final = _NoEvent()


class DirectGet:
    """One GET on its way to the store.

    It stands where uvicorn keeps the request in hand, so that uvicorn's rules for pipelined requests, for closing and
    for clients that leave hold for it as well.
    """

    __slots__ = ("disconnected", "keep_alive", "response_complete")

    # What uvicorn asks of a request and is the same for all that have no body and are answered whole.
    more_body: Final = False
    response_started: Final = False
    message_event: Final = _NOBODY_WAITS

    def __init__(self, keep_alive: bool) -> None:  # noqa: FBT001 - built for each request: keywords cost time
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_complete = False


class DirectGets:
    """Takes GETs to the collector, and has their answers, whole, made once."""

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
        """Count and return the answer that an event is stored, or that it is not and when to try again."""
        if refusal is None:
            self._responded_200.inc()
            return self._stored[image, keep_alive]
        self._metrics.requests.labels("GET", "503").inc()
        body = responses.not_stored(refusal.reason)
        return responses.whole(503, body, b"application/json", responses.RETRY_AFTER, keep_alive=keep_alive)

    def failed(self, bug: Exception, received: core.Request, *, keep_alive: bool) -> bytes:
        """Log and count a bug, and return its answer."""
        body = report_bug(bug, received)
        self._metrics.requests.labels("GET", "500").inc()
        return responses.whole(500, body, b"application/json", keep_alive=keep_alive)


def is_bodyless(fields: Mapping[bytes, bytes]) -> bool:
    """Tell whether a request's headers announce no body (RFC 9112, 6)."""
    return _NOT_BODYLESS.isdisjoint(fields)
