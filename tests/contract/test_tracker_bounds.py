"""The limits of the tracker: it refuses requests that are too large, too slow or too many, and serves all others."""

import gzip
import itertools
import json
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from deploy.develop.localstack.redis import LocalRedis
from tests.contract.tracker_process import LIMIT, OK, ReceivedResponse, Tracker, read_response, wait_until


def test_event_is_stored_up_to_limit_and_refused_beyond_it(tracker: Tracker) -> None:
    assert tracker.ask("GET", "/a?x=" + "y" * 8192).status == 200
    assert tracker.ask("GET", "/a?x=" + "y" * (LIMIT - 300)).status == 200
    assert tracker.ask("POST", "/a", body=b"x=" + b"y" * (LIMIT - 300)).status == 200
    assert len(tracker.events()) == 3
    chunks = [b"2000\r\n" + b"y" * 8192 + b"\r\n"] * 20
    for response in (
        tracker.ask("GET", "/a?x=" + "y" * LIMIT),
        tracker.ask("GET", "/a?x=" + "y" * 5 * LIMIT),
        tracker.ask("POST", "/a", body=b"x=" + b"y" * LIMIT),
        tracker.ask("POST", "/a", "Content-Length: 99999999999", "Expect: 100-continue"),
        tracker.ask("POST", "/a", "Content-Encoding: gzip", body=gzip.compress(b"x" * 50 * LIMIT)),
        tracker.send(b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", *chunks),
    ):
        assert response.status == 413
        reported = json.loads(response.body)
        assert reported["limit"] == LIMIT
        assert "MAX_EVENT_BYTES" in reported["detail"]
    assert tracker.events() == []


@pytest.mark.parametrize(
    "pieces",
    [
        [b"GET /a HTTP/1.1\r\n", *[b"X: " + b"y" * 8000 + b"\r\n"] * 300],
        [b"GET /a HTTP/1.1\r\nX: ", *[b"y" * 8000] * 300],
        [b"GET /", *[b"y" * 8000] * 300],
        [
            b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            *[b"X: " + b"y" * 8000 + b"\r\n"] * 300,
        ],
    ],
    ids=["headers", "one header", "request line", "trailers"],
)
def test_endless_head_is_refused(tracker: Tracker, pieces: list[bytes]) -> None:
    assert tracker.send(*pieces).status == 413


def test_slow_request_gets_408(tracker: Tracker) -> None:
    assert tracker.send(b"GET /a HTTP/1.1\r\n").status == 408
    assert tracker.send(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\na").status == 408


def test_total_body_bytes_are_bounded(redis_server: LocalRedis, tmp_path: Path) -> None:
    limits = dict.fromkeys(("MAX_EVENT_BYTES", "TRACKER_MAX_BATCH_BYTES", "TRACKER_MAX_BODY_BYTES"), "2000")
    tracker = Tracker(redis_server.url, tmp_path, **limits)
    head = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1502\r\n\r\n"
    with tracker.connect() as first:
        first.sendall(head + b"x=" + b"y" * 1499)
        # Requests are accepted until the tracker has read the first part of the first body.
        wait_until(lambda: tracker.send(head + b"x=" + b"y" * 1500).status == 503)
        first.sendall(b"y")
        assert read_response(first).status == 200
    assert tracker.send(head + b"x=" + b"y" * 1500).status == 200
    assert tracker.end() == 0


def test_total_connections_are_bounded(redis_server: LocalRedis, tmp_path: Path) -> None:
    tracker = Tracker(redis_server.url, tmp_path, TRACKER_MAX_CONNECTIONS="2")
    with tracker.connect() as first, tracker.connect() as second:
        for connection in (first, second):
            connection.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
            assert read_response(connection).status == 200
        response = tracker.ask("GET", "/a")
        assert (response.status, response.headers["retry-after"], response.headers["connection"]) == (503, "2", "close")
        assert json.loads(response.body)["error"] == "overloaded"
        with tracker.connect() as silent:
            assert read_response(silent).status == 503
        assert tracker.metric('push_tracker_events_refused_total{reason="overloaded"}') == 2
        first.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_response(first).status == 200
    wait_until(lambda: tracker.ask("GET", "/a").status == 200)
    assert tracker.end() == 0


def bomb() -> Iterator[bytes]:
    """10 GB of zeros as 10 MB of gzip. Its blocks are independent, so one block is compressed and sent repeatedly."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(bytes(1_048_576)) + packer.flush(zlib.Z_FULL_FLUSH)
    assert len(block) * 10_000 < 12_000_000
    yield b"\x1f\x8b\x08" + bytes(6) + b"\xff"
    yield from itertools.repeat(block, 10_000)


def throw_bomb(tracker: Tracker) -> ReceivedResponse:
    head = b"POST /batch HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    return tracker.send(head, *(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in bomb()))


def test_gzip_bomb_is_refused_with_bounded_memory_while_others_are_served(
    redis_server: LocalRedis, tmp_path: Path
) -> None:
    tracker = Tracker(redis_server.url, tmp_path)
    process = psutil.Process(tracker.pid)
    assert tracker.ask("POST", "/batch", body=b'[{"type":"a"}]').status == 200
    before = process.memory_info().rss
    with ThreadPoolExecutor() as clients:
        bombs = [clients.submit(throw_bomb, tracker) for _ in range(4)]
        others, most = 0, before
        while not all(one.done() for one in bombs) or others < 20:
            assert tracker.ask("GET", "/other").status == 200
            others += 1
            most = max(most, process.memory_info().rss)
    for one in bombs:
        assert one.result().status == 413
        assert json.loads(one.result().body)["limit"] == 8_388_608
    assert most - before < 50_000_000
    assert tracker.end() == 0


def test_batch_at_other_path_is_stored_as_one_event_and_logged_once(redis_server: LocalRedis, tmp_path: Path) -> None:
    tracker = Tracker(redis_server.url, tmp_path, TRACKER_BATCH_PATHS="/own,/v1/batch")
    tracker.redis.flushdb()
    body = b'{"batch":[{"type":"a"},{"type":"b"}]}'
    assert json.loads(tracker.ask("POST", "/own/", body=body).body)["stored"] == 2
    for path in ("/batch", "/batch", "/other"):
        assert tracker.ask("POST", path, "Content-Type: application/json", body=body).body == OK
    assert [event.path for event in tracker.events()] == [b"/a", b"/b", b"/batch", b"/batch", b"/other"]
    assert tracker.metric("push_tracker_batches_as_events_total") == 3
    assert tracker.end() == 0
    logged = [json.loads(line)["path"] for line in tracker.log.read_text().splitlines() if "batch_stored_as" in line]
    assert logged == ["/batch", "/other"]


@pytest.mark.parametrize("opt_out", [(), ("DNT: 1",)], ids=["no opt-out", "opt-out"])
def test_logged_path_of_a_batch_contains_no_client_address(
    redis_server: LocalRedis, tmp_path: Path, opt_out: tuple[str, ...]
) -> None:
    tracker = Tracker(redis_server.url, tmp_path)
    body = b'[{"type":"a"},{"type":"b"}]'
    for address in ("83.149.9.216", "2001:db8:1234:5678:9abc:def0:1357:2468"):
        sent = tracker.ask("POST", f"/{address}/import", f"X-Push-IP: {address}", *opt_out, body=body)
        assert sent.body == OK
    assert tracker.end() == 0
    logged = [json.loads(line)["path"] for line in tracker.log.read_text().splitlines() if "batch_stored_as" in line]
    assert logged == ["/00.000.0.000/import", "/0000:000:0000:0000:0000:0000:0000:0000/import"]
