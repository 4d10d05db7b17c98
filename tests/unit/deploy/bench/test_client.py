import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from deploy.bench.client import Client
from deploy.errors import OperatorError

_REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Server:
    """Respond to each request after a delay, and to each `refuse`-th with 503. Send responses in two pieces."""

    def __init__(self, *, delay_s: float = 0.0, refuse: int = 0, close_after: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._delay_s, self._refuse, self._close_after = delay_s, refuse, close_after
        self._lock = threading.Lock()
        self.requests = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # otherwise the second piece waits for 40 ms
        with connection, contextlib.suppress(ConnectionError):  # the client may end first
            while connection.recv(65_536):
                with self._lock:
                    self.requests += 1
                    number = self.requests
                if self._close_after and number >= self._close_after:
                    return
                time.sleep(self._delay_s)
                status = b"503 Busy" if self._refuse and number % self._refuse == 0 else b"200 OK"
                connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 4\r\n")
                time.sleep(0.001)
                connection.sendall(b"\r\nbody")

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    opened: list[Server] = []
    yield opened
    for server in opened:
        server.close()


def test_fixed_rate_is_kept_and_every_request_gets_a_response(servers: list[Server]) -> None:
    servers.append(server := Server())
    with Client(server.port, connections=8) as client:
        responses = client.at_fixed_rate([_REQUEST], rate=200, seconds=0.5)
    assert responses.acknowledged == server.requests == 100
    assert responses.seconds >= 0.49
    assert responses.refused == 0


def test_latency_includes_the_wait_for_a_connection(servers: list[Server]) -> None:
    servers.append(server := Server(delay_s=0.05))
    with Client(server.port, connections=1) as client:
        responses = client.at_fixed_rate([_REQUEST], rate=100, seconds=0.2)
    # Twenty requests, each taking 50 ms on the one connection: the last one is due at 0.19 s and gets its response
    # after 1 s.
    assert responses.acknowledged == 20
    assert responses.latencies_s[-1] > 0.7
    assert responses.late_s > 0.6


def test_refused_requests_are_counted_separately(servers: list[Server]) -> None:
    servers.append(server := Server(refuse=4))
    with Client(server.port, connections=2) as client:
        responses = client.at_fixed_rate([_REQUEST], rate=200, seconds=0.2)
    assert (responses.acknowledged, responses.refused) == (30, 10)


def test_next_request_follows_the_response_at_full_speed(servers: list[Server]) -> None:
    servers.append(server := Server(delay_s=0.01))
    with Client(server.port, connections=4) as client:
        responses = client.at_full_speed([_REQUEST], seconds=0.3)
    assert responses.acknowledged == server.requests
    assert 4 < responses.acknowledged <= 4 * 31
    # Each connection has a request in flight nearly all the time. A stall of the machine also counts as in flight.
    assert sum(responses.latencies_s) > 0.8 * 4 * responses.seconds


def test_garbage_collection_runs_before_the_measurement(servers: list[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    servers.append(server := Server())
    monkeypatch.setattr("deploy.bench.client.gc.collect", lambda: time.sleep(0.5))  # the time for a large heap
    with Client(server.port, connections=1) as client:
        assert client.at_fixed_rate([_REQUEST], rate=100, seconds=0.1).late_s < 0.4
        assert client.at_full_speed([_REQUEST], seconds=0.3).acknowledged > 0


def test_server_that_closes_a_connection_under_load_is_an_error(servers: list[Server]) -> None:
    servers.append(server := Server(close_after=5))
    with Client(server.port, connections=2) as client, pytest.raises(OperatorError, match="closed a connection"):
        client.at_fixed_rate([_REQUEST], rate=200, seconds=0.5)
