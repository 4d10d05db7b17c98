"""Clients that close their side of the connection directly after a request, and still read the response."""

import json
import re
import socket
import struct

import psutil
import pytest

from tests.contract.tracker_process import LIMIT, Tracker, wait_until

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nx=1"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nx=1\r\n0\r\n\r\n"
MALFORMED = b"GET /b HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"


def batch(entries: list[dict[str, str]]) -> bytes:
    body = json.dumps(entries, ensure_ascii=False).encode()
    return b"POST /batch HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def responses_to(tracker: Tracker, data: bytes) -> list[tuple[int, bool]]:
    """Send bytes and the end of the stream at once; return each status and whether the response closes."""
    with tracker.connect() as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: connection.recv(LIMIT), b""))
    heads = re.findall(rb"HTTP/1.1 (\d+) (.*?)\r\n\r\n", received, re.DOTALL)
    return [(int(status), b"connection: close" in fields) for status, fields in heads]


@pytest.mark.parametrize(
    ("data", "statuses"),
    [
        (GET, [200]),
        (GET * 3, [200, 200, 200]),
        (GET * 20, [200] * 20),
        (GET.replace(b"GET", b"HEAD", 1), [200]),
        (GET.replace(b"1.1", b"1.0"), [200]),
        (POST, [200]),
        (CHUNKED, [200]),
        (GET + POST + GET + CHUNKED, [200, 200, 200, 200]),
        (batch([{"type": "a"}]), [200]),
        (GET + MALFORMED, [200, 400]),
        (GET * 2 + MALFORMED, [200, 200, 400]),
        (GET * 2 + POST[:-1], [200, 200]),
        (GET * 2 + GET[:-1], [200, 200]),
    ],
    ids=[
        *("GET", "three GETs", "twenty GETs", "HEAD", "HTTP/1.0", "POST", "chunked", "mixed", "batch"),
        *("malformed after one", "malformed after two", "half a body", "half a head"),
    ],
)
def test_half_closed_client_gets_all_responses(tracker: Tracker, data: bytes, statuses: list[int]) -> None:
    # Without eof_received the order of response and close depends on timing: 1 of 30 runs had another result.
    for _ in range(30):
        assert [status for status, _ in responses_to(tracker, data)] == statuses
        assert [event.path for event in tracker.events()] == [b"/a"] * statuses.count(200)


@pytest.mark.parametrize("data", [GET, GET * 3, POST, GET + POST])
def test_last_response_to_half_closed_client_has_connection_close(tracker: Tracker, data: bytes) -> None:
    tracker.redis.client_pause(200, all=False)  # until the end of the stream has arrived
    *others, last = responses_to(tracker, data)
    assert last == (200, True)
    assert set(others) <= {(200, False)}


def test_half_closed_connection_without_a_request_is_closed(tracker: Tracker) -> None:
    assert responses_to(tracker, b"") == []
    assert responses_to(tracker, GET[:-2]) == []
    assert responses_to(tracker, POST[:-1]) == []
    assert tracker.events() == []


def test_half_closed_connection_is_aborted_when_client_does_not_read(tracker: Tracker) -> None:
    process = psutil.Process(tracker.pid)
    request = batch([{"type": "a", "id": "\N{GRINNING FACE}" * 128} for _ in range(10_000)])  # 5 MB of response
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", tracker.port))
        connection.settimeout(10)
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        here = connection.getsockname()
        wait_until(lambda: here not in [other.raddr for other in process.net_connections("tcp")], limit_s=20)
    tracker.events()


def test_reset_with_pipelined_requests_is_not_logged(tracker: Tracker) -> None:
    logged = tracker.log.read_bytes()
    for _ in range(20):
        with tracker.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, not close
            connection.sendall(POST * 5)
    assert tracker.ask("GET", "/b").status == 200
    assert tracker.log.read_bytes() == logged
    tracker.events()
