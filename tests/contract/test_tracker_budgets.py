"""The tracker's budgets: requests use bounded memory, and one address cannot cause the refusal of all others."""

import contextlib
import json
import re
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.develop.localstack.ports import LOOPBACK, free_port, is_listening
from deploy.develop.localstack.redis import LocalRedis
from tests.contract.memory_cgroup import memory_cgroup
from tests.contract.tracker_process import ReceivedResponse, Tracker, read_response, wait_until

ROOT = Path(__file__).parents[2]
STRANGER, OTHER = "127.0.0.2", "127.0.0.3"
HEAD = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"


@pytest.fixture
def public(redis_server: LocalRedis, tmp_path: Path) -> Iterator[Tracker]:
    """A tracker with the default limits that trusts no address of the loopback interface."""
    tracker = Tracker(
        redis_server.url, tmp_path, TRUSTED_PROXIES="", MAX_EVENT_BYTES="262144", TRACKER_BODY_TIMEOUT_S="20"
    )
    yield tracker
    assert tracker.end() == 0


def connect_from(tracker: Tracker, address: str) -> socket.socket:
    return socket.create_connection((LOOPBACK, tracker.port), timeout=10, source_address=(address, 0))


def ask_from(
    tracker: Tracker, address: str, request: bytes = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
) -> ReceivedResponse:
    with connect_from(tracker, address) as connection:
        connection.sendall(request)
        return read_response(connection)


def memory(tracker: Tracker) -> int:
    return int(psutil.Process(tracker.pid).memory_info().rss)


def send_slowly(tracker: Tracker, connections: list[socket.socket], size: int) -> int:
    """Send an endless head of `size` bytes on all connections at once; return the tracker's maximum memory."""
    piece = b"x" * 16_384
    left = dict.fromkeys(connections, size)
    most = 0
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            connection.settimeout(0)
            connection.send(b"GET /")
            selector.register(connection, selectors.EVENT_WRITE, connection)
        deadline = time.monotonic() + 60
        while left and time.monotonic() < deadline:
            for key, _ in selector.select(0.5):
                slow: socket.socket = key.data
                try:
                    left[slow] -= slow.send(piece)
                except OSError:
                    left[slow] = 0  # refused
                if left[slow] <= 0:
                    del left[slow]
                    selector.unregister(slow)
            most = max(most, memory(tracker))
            assert ask_from(tracker, OTHER).status == 200
            assert ask_from(tracker, OTHER, HEAD + b"a=1").status == 200
    return most


@pytest.mark.timeout(180)
def test_slow_heads_stay_within_budget_while_others_are_served(public: Tracker) -> None:
    assert ask_from(public, OTHER, HEAD + b"a=1").status == 200
    before = memory(public)
    with contextlib.ExitStack() as stack:
        # Sixteen addresses are used, since the limit of one address refuses most of these connections.
        slow = [
            stack.enter_context(connect_from(public, f"127.0.1.{1 + number % 16}"))
            for number in range(4094)  # of 4096: the GETs and the POSTs have a connection each
        ]
        most = send_slowly(public, slow, 262_144)
    # The budget is 64 MiB, and a connection takes 7 kB. Without a budget these heads take 1.1 GB.
    assert most - before < 1.25 * 67_108_864 + 4096 * 10_000
    wait_until(lambda: public.metric("push_tracker_buffered_bytes") == 0)


def test_idle_connections_of_one_address_do_not_block_others(redis_server: LocalRedis, tmp_path: Path) -> None:
    tracker = Tracker(
        redis_server.url,
        tmp_path,
        TRUSTED_PROXIES="127.0.0.9/32",
        TRACKER_MAX_CONNECTIONS="40",
        TRACKER_MAX_ADDRESS_CONNECTIONS="10",
        TRACKER_BODY_TIMEOUT_S="20",
    )
    with contextlib.ExitStack() as stack:
        for _ in range(600):
            stack.enter_context(connect_from(tracker, STRANGER))
        for _ in range(20):
            assert ask_from(tracker, OTHER).status == 200
        refused = ask_from(tracker, STRANGER)
        assert (refused.status, refused.headers["retry-after"]) == (503, "2")
        assert json.loads(refused.body)["error"] == "overloaded"
        for _ in range(20):  # a trusted proxy has no limit of its own
            proxied = stack.enter_context(connect_from(tracker, "127.0.0.9"))
            proxied.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
            assert read_response(proxied).status == 200
    wait_until(lambda: ask_from(tracker, STRANGER).status == 200)
    assert tracker.end() == 0


def test_requests_in_process_are_bounded_and_released(redis_server: LocalRedis, tmp_path: Path) -> None:
    tracker = Tracker(redis_server.url, tmp_path, TRACKER_MAX_BUFFER_BYTES="1048576")
    for _ in range(5):
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(tracker.connect()) for _ in range(60)]
            for connection in held:
                connection.sendall(HEAD)
            wait_until(lambda: tracker.ask("POST", "/a", body=b"a=1").status == 503)
            assert tracker.ask("GET", "/a").status == 200  # the fast path serves it without the application
            for connection in held:
                with contextlib.suppress(ConnectionError):
                    connection.sendall(b"a=1")
            statuses = [read_response(connection).status for connection in held]
            assert set(statuses) == {200, 503}
            assert 20 < statuses.count(200) < 40
        wait_until(lambda: tracker.ask("POST", "/a", body=b"a=1").status == 200)
    wait_until(lambda: tracker.metric("push_tracker_buffered_bytes") == 0)
    assert tracker.end() == 0


def test_request_counts_as_buffered_until_it_ends_when_client_disconnects(tmp_path: Path) -> None:
    server = LocalRedis(data=tmp_path / "data", log=tmp_path / "redis.log")
    server.start()
    server.wait_ready()
    tracker = Tracker(server.url, tmp_path, TRACKER_PUSH_TIMEOUT_S="1.5")
    assert tracker.ask("POST", "/a", body=b"a=1").status == 200
    server.process.send_signal(signal.SIGSTOP)  # events now wait for two pushes
    for _ in range(10):
        with tracker.connect() as connection:
            connection.sendall(HEAD + b"a=1")
            # A reset, because a client that only closes its side may still read its response and counts as connected.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    metrics = tracker.metrics()  # read after readiness has waited for Redis, long after the clients have disconnected
    assert "push_tracker_connections 0.0" in metrics
    buffered = re.search(r"^push_tracker_buffered_bytes (\S+)$", metrics, re.MULTILINE)
    assert buffered is not None
    assert float(buffered[1]) > 8 * 28_672  # the first push may have timed out
    server.process.send_signal(signal.SIGCONT)
    wait_until(lambda: tracker.metric("push_tracker_buffered_bytes") == 0)
    assert tracker.end() == 0
    server.process.stop()


def test_pipelined_requests_are_bounded(redis_server: LocalRedis, tmp_path: Path) -> None:
    tracker = Tracker(redis_server.url, tmp_path)
    assert tracker.ask("POST", "/a", body=b"a=1").status == 200
    before = memory(tracker)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(tracker.connect()) for _ in range(40)]
        for connection in connections:
            connection.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" * 5000)
        most, end = 0, time.monotonic() + 3
        while time.monotonic() < end:
            most = max(most, memory(tracker))
            time.sleep(0.02)
    # Without a limit, 40 x 5,000 requests of 6 kB each take 1.2 GB.
    assert most - before < 100_000_000
    wait_until(lambda: tracker.metric("push_tracker_buffered_bytes") == 0)
    assert tracker.ask("POST", "/a", body=b"a=1").status == 200
    assert tracker.end() == 0


def test_connection_is_aborted_when_client_does_not_read(redis_server: LocalRedis, tmp_path: Path) -> None:
    tracker = Tracker(redis_server.url, tmp_path)  # waits 2 s for a client
    body = b"[" + b",".join([b"1"] * 10_000) + b"]"
    head = b"POST /batch HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect((LOOPBACK, tracker.port))
            connection.sendall((head + body) * 10)
        wait_until(lambda: tracker.metric("push_tracker_buffered_bytes") > 100_000)
        wait_until(lambda: tracker.metric("push_tracker_buffered_bytes") == 0)
        wait_until(lambda: tracker.metric("push_tracker_connections") == 0)
    assert tracker.end() == 0


@pytest.mark.parametrize(("limit", "ends"), [(256 * 1_048_576, 78), (512 * 1_048_576, 0)])
def test_start_fails_with_sum_when_limits_exceed_cgroup_memory(
    redis_server: LocalRedis, tmp_path: Path, limit: int, ends: int
) -> None:
    port = free_port()
    environ = {"REDIS_URL": redis_server.url, "TRACKER_PORT": str(port), "INTERNAL_PORT": str(free_port())}
    with memory_cgroup(limit) as group, (tmp_path / "log").open("w") as log:
        join = f"echo $$ > {group}/cgroup.procs && exec {sys.executable} -m services.tracker"
        process = subprocess.Popen(["/bin/sh", "-c", join], cwd=ROOT, env=environ, stderr=log)
        wait_until(lambda: process.poll() is not None or is_listening(port))
        process.terminate()
        assert process.wait(timeout=15) == ends
        wait_until(lambda: not (group / "cgroup.procs").read_text())
    written = (tmp_path / "log").read_text()
    assert "Traceback" not in written
    if ends:
        assert re.match(r"these settings allow the tracker \d{3} MiB of memory, but its limit is 256 MiB", written)
        assert str(group) in written
        assert "TRACKER_MAX_BUFFER_BYTES=67108864" in written
