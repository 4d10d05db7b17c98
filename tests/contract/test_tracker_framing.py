"""Framing of requests, byte by byte: no request is smuggled or swallowed, and trailers are ignored.

The cases are sent directly, and through proxies that share connections between clients. The events in Redis show the
requests that the tracker has found.
"""

import contextlib
import re
import socket
from collections.abc import Iterator

import pytest

from deploy.develop.localstack.ports import LOOPBACK
from deploy.develop.localstack.redis import LocalRedis
from services.backbone.events import RawEvent
from tests.contract.framing_cases import CASES, END, Case, head
from tests.contract.proxies import Proxy
from tests.contract.tracker_process import LIMIT, Tracker

CLIENT = "127.0.0.9"
"""A trusted address, like the proxies', so that the tracker believes a forged field."""

HOSTS = {b"", b"x", b"x:y", b"h.example", b"h.example:80", b"[::1]", b"[::1]:80", b"proxy.example"}


def exchange(port: int, data: bytes, *, ends: bool = False, piece_bytes: int = LIMIT) -> bytes:
    """Send bytes from `CLIENT` and return all bytes until the connection closes."""
    received = b""
    with socket.create_connection((LOOPBACK, port), timeout=8, source_address=(CLIENT, 0)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):  # the tracker may close it before all bytes are sent
            for start in range(0, len(data), piece_bytes):
                connection.sendall(data[start : start + piece_bytes])
            if ends:
                connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(LIMIT):
                received += piece
    return received


def send(case: Case, port: int, *, piece_bytes: int = LIMIT) -> tuple[int, ...]:
    received = exchange(port, case.sent + (b"" if case.ends else END), ends=case.ends, piece_bytes=piece_bytes)
    return tuple(int(status) for status in re.findall(rb"HTTP/1\.[01] (\d+) ", received))


def targets(events: list[RawEvent]) -> tuple[bytes, ...]:
    return tuple(event.path + b"?" * bool(event.query) + event.query for event in events)


def assert_nothing_is_forged(events: list[RawEvent]) -> None:
    for event in events:
        assert (event.address, event.user_agent, event.referrer, event.opted_out) == (CLIENT, b"suite", b"", False)
        assert event.id != "forged"
        assert event.host in HOSTS


def test_suite_has_at_least_a_hundred_cases() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 100


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_request_is_stored_or_refused_as_rfc_9112_requires(tracker: Tracker, case: Case) -> None:
    assert send(case, tracker.port) == case.statuses
    events = tracker.events()
    assert targets(events) == case.events
    assert_nothing_is_forged(events)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_requests_are_stored_equally_when_each_byte_arrives_alone(tracker: Tracker, case: Case) -> None:
    # A refused client that still sends may lose the response when the connection closes.
    statuses = send(case, tracker.port, piece_bytes=1)
    # The tracker does not serve PUT. It can refuse one by its head alone, before the fault of the body arrives.
    is_refused_early = case.sent.startswith(b"PUT ") and case.statuses == (400,) and statuses == (405,)
    assert is_refused_early or statuses == case.statuses[: len(statuses)]
    events = tracker.events()
    assert targets(events) == case.events
    assert_nothing_is_forged(events)


@pytest.fixture(scope="module", params=["nginx", "haproxy"])
def proxied(
    request: pytest.FixtureRequest, redis_server: LocalRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Proxy, Tracker]]:
    folder = tmp_path_factory.mktemp(request.param)
    tracker = Tracker(redis_server.url, folder)
    proxy = Proxy(request.param, tracker.port, folder)
    proxy.open()
    yield proxy, tracker
    proxy.stop()
    assert tracker.end() == 0
    assert tracker.problems() == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_proxy_and_tracker_agree_on_every_request(proxied: tuple[Proxy, Tracker], case: Case) -> None:
    proxy, tracker = proxied
    tracker.redis.flushdb()
    statuses = send(case, proxy.port)
    events = tracker.events()
    assert targets(events) in case.readings
    assert statuses.count(200) == len(events), statuses
    assert_nothing_is_forged(events)
    # Another client's request on the same connection to the tracker gets its own response, an image.
    response = exchange(proxy.port, head(b"GET /next.gif HTTP/1.1", b"Connection: close"))
    assert b"\r\n\r\nGIF89a" in response
    assert targets(tracker.events()) == (b"/next.gif",)
