"""An HTTP load client: it sends requests at fixed times, or as fast as the server responds.

It uses plain sockets, epoll and prepared requests: it shares its core with Redis, so it must use less CPU time than the
measured service. Times are accurate to 0.1 ms. Connections are kept alive.
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

_RESPONSE_S = 30.0  # a later response means that something is broken
_CHUNK = 65_536
_NAP_S = 0.00005  # the kernel sleeps about 0.1 ms for it


@dataclass
class ClientResult:
    """The result of the requests of one round."""

    latencies_s: list[float] = field(default_factory=list)
    """Latency of each response 200, from the time when the request was due."""
    refused: int = 0
    """Responses with another status."""
    late_s: float = 0.0
    """The longest delay between due time and sending, caused by the client itself or by too few connections."""
    seconds: float = 0.0

    @property
    def acknowledged(self) -> int:
        """Number of responses 200."""
        return len(self.latencies_s)


class Client:
    """Persistent connections to one server. Use it as a context manager."""

    def __init__(self, port: int, *, connections: int) -> None:
        self._sockets = [_connect(port) for _ in range(connections)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        for each in self._sockets:
            each.close()

    def at_fixed_rate(self, requests: Sequence[bytes], *, rate: float, seconds: float) -> ClientResult:
        """Send `rate` requests a second for `seconds` in rotation. Return when all have responses."""
        with _undisturbed():
            begin_s = time.perf_counter() + 0.01
            count = int(rate * seconds)
            return self._run(requests, [begin_s + number / rate for number in range(count)], until_s=None)

    def as_fast_as_answered(self, requests: Sequence[bytes], *, seconds: float) -> ClientResult:
        """Send the next request on each connection after the response to the previous one, for `seconds`."""
        with _undisturbed():
            return self._run(requests, None, until_s=time.perf_counter() + seconds)

    def _run(self, requests: Sequence[bytes], due_s: Sequence[float] | None, *, until_s: float | None) -> ClientResult:
        found = ClientResult()
        free = deque(self._sockets)
        pending: dict[int, tuple[socket.socket, float]] = {}
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
                    pending[connection.fileno()] = (connection, due)
                    number += 1
                    found.late_s = max(found.late_s, now_s - due)
                    more = due_s is None or number < len(due_s)
                if not more and not pending:
                    break
                ready = watch.poll(0)
                if not ready:
                    if pending and now_s - heard_s > _RESPONSE_S:
                        raise OperatorError(f"no response within {_RESPONSE_S:.0f} s to {len(pending)} requests")
                    time.sleep(_NAP_S)
                    continue
                heard_s = now_s
                for descriptor, _ in ready:
                    if descriptor not in pending:
                        raise OperatorError("the server closed an idle connection: use fewer connections")
                    connection, due = pending[descriptor]
                    status = _answer(connection, buffers)
                    if status is None:
                        continue
                    del pending[descriptor]
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
    connection.settimeout(_RESPONSE_S)
    return connection


def _answer(connection: socket.socket, buffers: dict[int, bytes]) -> bytes | None:
    """Read the available bytes. Return the status when the response is complete."""
    piece = connection.recv(_CHUNK)
    if not piece:
        raise OperatorError("the server closed a connection during the load")
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
    """Run the garbage collector once, then disable it: its pauses would count as the server's."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
