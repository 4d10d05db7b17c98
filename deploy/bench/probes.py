"""Probes: single events within the load, each followed from its response until it is counted."""

import select
import socket
import time
from typing import Any, Final

from redis import Redis

from deploy.develop.localstack.ports import LOOPBACK
from deploy.errors import OperatorError
from deploy.operate.status import TYPES_COUNTER
from services.backbone import names

_PER_S: Final = 100.0
_POLL_S: Final = 0.002
COUNTER: Final = TYPES_COUNTER


class Probes:
    """Sends an event with its own type a hundred times a second, and polls the counter for it."""

    def __init__(self, port: int, counters: Redis, *, name: str) -> None:
        self._connection = socket.create_connection((LOOPBACK, port), timeout=10)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._counters = counters
        self._name = name
        self._asked = ""
        self._outstanding: dict[str, float] = {}
        self._next_s = 0.0
        self.sent = 0
        self.latencies_s: list[float] = []
        """Time from the response until the poll that saw the count. It is up to 2 ms too long."""

    def close(self) -> None:
        """Stop sending."""
        self._connection.close()

    @property
    def uncounted(self) -> int:
        """Probes that are acknowledged and not yet counted, and one without a response."""
        return len(self._outstanding) + bool(self._asked)

    def step(self, *, send: bool = True) -> None:
        """Send and poll for about 2 ms. Without `send` only poll."""
        now_s = time.perf_counter()
        if send and not self._asked and now_s >= self._next_s:
            self._next_s = max(self._next_s + 1 / _PER_S, now_s)
            self.sent += 1
            self._asked = f"{self._name}-{self.sent}"
            self._connection.sendall(f"GET /t/{self._asked} HTTP/1.1\r\nHost: trk.example.org\r\n\r\n".encode())
        readable, _, _ = select.select([self._connection], [], [], _POLL_S)
        if readable and self._asked:
            if not self._connection.recv(65_536).startswith(b"HTTP/1.1 200 "):
                raise OperatorError("the tracker did not acknowledge a probe")
            self._outstanding[self._asked] = time.perf_counter()
            self._asked = ""
        self._poll()

    def _poll(self) -> None:
        if not self._outstanding:
            return
        labels = list(self._outstanding)
        scores: Any = self._counters.zmscore(names.counts_key(COUNTER), labels)
        now_s = time.perf_counter()
        for label, score in zip(labels, scores, strict=True):
            if score is not None:
                self.latencies_s.append(now_s - self._outstanding.pop(label))
