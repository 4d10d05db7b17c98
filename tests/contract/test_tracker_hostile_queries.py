"""Send queries that take much work to clean. Other requests must not wait for them, and the work has a limit.

The tests that measure times run where nothing else runs (marker `measures`).
"""

import gzip
import json
import socket
import time
from pathlib import Path

import psutil
import pytest

from deploy.develop.localstack.redis import LocalRedis
from services.tracker.core.privacy import MOST_STEPS
from tests.contract.tracker_process import Tracker, read_response

AT_ONCE = 80
MOST_WAIT_S = 1.0
"""On the event loop, the queries took 1.8 to 2.8 s together, and another request waited for all of them. Now it waits
0.3 to 0.5 s on a machine of two busy cores."""
MOST_CPU_S = 2.0
"""Reading all fields exactly took 5 s. Now it takes 0.7 s."""
LINES = "{%0a" * (MOST_STEPS // 2 - 10)
"""Just below the limit."""


def longest_wait_s(tracker: Tracker, connections: list[socket.socket]) -> float:
    """Return the longest time of a plain GET until all `connections` have sent their response."""
    longest = 0.0
    waiting = list(connections)
    while waiting:
        begin_s = time.monotonic()
        assert tracker.ask("GET", "/other").status == 200
        longest = max(longest, time.monotonic() - begin_s)
        waiting[0].settimeout(0.001)
        try:
            waiting[0].recv(1, socket.MSG_PEEK)
        except TimeoutError:
            continue
        waiting.pop(0).settimeout(5)
    return longest


@pytest.mark.slow
@pytest.mark.measures
@pytest.mark.parametrize(
    "head",
    ["GET /?context&a={0} HTTP/1.1\r\n", "GET /?a={0} HTTP/1.1\r\nDNT: 1\r\n", "POST /?context&a={0} HTTP/1.1\r\n"],
)
def test_long_queries_do_not_delay_other_requests(redis_server: LocalRedis, tmp_path: Path, head: str) -> None:
    tracker = Tracker(redis_server.url, tmp_path, TRACKER_BODY_TIMEOUT_S="20")
    request = (head.replace("{0}", LINES) + "Host: x\r\n\r\n").encode()
    connections = [tracker.connect() for _ in range(AT_ONCE)]
    for connection in connections:
        connection.sendall(request[:-2])
    for connection in connections:
        connection.sendall(request[-2:])
    assert longest_wait_s(tracker, connections) < MOST_WAIT_S
    for connection in connections:
        assert read_response(connection).status == 200
        connection.close()
    assert tracker.end() == 0


def test_query_over_limit_of_steps_gets_413(tracker: Tracker) -> None:
    response = tracker.ask("GET", "/a?context" + "&" * MOST_STEPS)
    assert (response.status, json.loads(response.body)["limit"]) == (413, MOST_STEPS)
    assert tracker.ask("GET", "/a?" + "&" * MOST_STEPS).status == 200
    assert tracker.ask("GET", "/a?x=1&context=2").status == 200
    assert [event.query for event in tracker.events()] == [b"&" * MOST_STEPS, b"x=1"]


@pytest.mark.slow
@pytest.mark.measures
def test_work_to_erase_address_in_batch_is_bounded(redis_server: LocalRedis, tmp_path: Path) -> None:
    tracker = Tracker(redis_server.url, tmp_path, TRACKER_BODY_TIMEOUT_S="20")
    entry = {"type": "a", "params": {"a": "83.149.9.216x" + "1:" * 3800}}
    body = gzip.compress(json.dumps([entry] * 1000).encode())
    process = psutil.Process(tracker.pid)
    before = process.cpu_times()
    response = tracker.ask("POST", "/batch", "Content-Encoding: gzip", "DNT: 1", "X-Push-IP: 83.149.9.216", body=body)
    after = process.cpu_times()
    assert json.loads(response.body)["stored"] == 1000
    assert after.user + after.system - before.user - before.system < MOST_CPU_S
    assert not any(b"83.149.9.216" in event.query for event in tracker.events())
    assert tracker.end() == 0


@pytest.mark.parametrize(("header", "extra"), [("DNT: 1", {}), ("X: 1", {"context": 1})])
def test_work_for_hostile_batch_is_bounded(
    redis_server: LocalRedis, tmp_path: Path, header: str, extra: dict[str, int]
) -> None:
    tracker = Tracker(redis_server.url, tmp_path, MAX_EVENT_BYTES="524288", TRACKER_BODY_TIMEOUT_S="20")
    tracker.redis.flushdb()
    entries = [{"type": "a", "params": {**extra, "a": "{\n" * 80_000}}] * 3
    body = gzip.compress(json.dumps([{"type": "b"}, *entries]).encode())
    response = tracker.ask("POST", "/batch", "Content-Encoding: gzip", header, body=body)
    results = json.loads(response.body)["results"]
    assert [result["status"] for result in results] == ["stored"] + ["refused"] * 3
    assert f"{MOST_STEPS} parameters, members and lines" in results[1]["reason"]
    assert [event.path for event in tracker.events()] == [b"/b"]
    assert tracker.end() == 0
