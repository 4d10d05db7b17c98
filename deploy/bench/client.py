"""An HTTP client for loads: requests at fixed times, whatever becomes of those before, or as fast as they are answered.

Plain sockets, epoll, and requests made beforehand: the client must cost less than what it measures, since Redis runs on
its core as well. Times are exact to a tenth of a millisecond. Connections are kept alive.
"""

import gc
import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from deploy.errors import OperatorError

_ANSWER_S = 30.0  # no answer takes so long unless something is broken
_CHUNK = 65_536
_NAP_S = 0.00005  # the kernel makes about a tenth of a millisecond of it


@dataclass
class ClientResult:
    """What became of the requests of one round."""

    latencies_s: list[float] = field(default_factory=list)
    """Of those answered 200, each from when the request was due."""
    refused: int = 0
    """Answered with another status."""
    late_s: float = 0.0
    """The longest time that a request was sent after it was due: the client's own, or connections being too few."""
    seconds: float = 0.0

    @property
    def answered(self) -> int:
        """Requests answered 200."""
        return len(self.latencies_s)


class Client:
    """Keeps connections open to one server. Use it as a context manager."""

    def __init__(self, port: int, *, connections: int) -> None:
        self._sockets = [_connect(port) for _ in range(connections)]

    def __enter__(self) -> Self:
        """Return the client; it is connected."""
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        for each in self._sockets:
            each.close()

    def at_fixed_rate(self, requests: Sequence[bytes], *, rate: float, seconds: float) -> ClientResult:
        """Send `rate` requests a second for so long, the given ones in turn; return when all are answered."""
        with _undisturbed():
            begin_s = time.perf_counter() + 0.01
            count = int(rate * seconds)
            return self._run(requests, [begin_s + number / rate for number in range(count)], until_s=None)

    def as_fast_as_answered(self, requests: Sequence[bytes], *, seconds: float) -> ClientResult:
        """Send the next request on each connection when the one before is answered, for so long."""
        with _undisturbed():
            return self._run(requests, None, until_s=time.perf_counter() + seconds)

    def _run(self, requests: Sequence[bytes], due_s: Sequence[float] | None, *, until_s: float | None) -> ClientResult:
        found = ClientResult()
        free = deque(self._sockets)
        asked: dict[int, tuple[socket.socket, float]] = {}
        buffers: dict[int, bytes] = {}
        number, count = 0, None if due_s is None else len(due_s)
        begin_s = heard_s = now_s = time.perf_counter()
        with _watched(self._sockets) as watch:
            while True:
                now_s = time.perf_counter()
                more = number < count if count is not None else until_s is not None and now_s < until_s
                while more and free and (due_s is None or due_s[number] <= now_s):
                    connection = free.popleft()
                    due = now_s if due_s is None else due_s[number]
                    connection.sendall(requests[number % len(requests)])
                    asked[connection.fileno()] = (connection, due)
                    number += 1
                    found.late_s = max(found.late_s, now_s - due)
                    more = due_s is None or number < len(due_s)
                if not more and not asked:
                    break
                ready = watch.poll(0)
                if not ready:
                    if asked and now_s - heard_s > _ANSWER_S:
                        raise OperatorError(f"no answer within {_ANSWER_S:.0f} s to {len(asked)} requests")
                    time.sleep(_NAP_S)
                    continue
                heard_s = now_s
                for descriptor, _ in ready:
                    if descriptor not in asked:
                        raise OperatorError(
                            "the server closed a connection that was idle: there are more than are used"
                        )
                    connection, due = asked[descriptor]
                    status = _answer(connection, buffers)
                    if status is None:
                        continue
                    del asked[descriptor]
                    if status == b"200":
                        found.latencies_s.append(time.perf_counter() - due)
                    else:
                        found.refused += 1
                    free.append(connection)
        found.seconds = now_s - begin_s
        return found


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(_ANSWER_S)
    return connection


def _answer(connection: socket.socket, buffers: dict[int, bytes]) -> bytes | None:
    """Read what has come; return the status when the answer is whole."""
    piece = connection.recv(_CHUNK)
    if not piece:
        raise OperatorError("the server closed a connection in the middle of the load")
    data = buffers.pop(connection.fileno(), b"") + piece
    head, found, body = data.partition(b"\r\n\r\n")
    if not found or len(body) < _content_length(head):
        buffers[connection.fileno()] = data
        return None
    return head[9:12]


def _content_length(head: bytes) -> int:
    begin = head.lower().find(b"content-length:")
    return int(head[begin + 15 :].split(b"\r\n", 1)[0]) if begin >= 0 else 0


@contextmanager
def _watched(sockets: Sequence[socket.socket]) -> Iterator[select.epoll]:
    with select.epoll() as watch:
        for each in sockets:
            watch.register(each, select.EPOLLIN)
        yield watch


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep the collector away: its pauses would count as the server's. It runs once first, before the clock starts."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
