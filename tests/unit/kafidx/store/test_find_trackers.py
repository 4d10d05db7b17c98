import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.backbone.search import SearchedStore, Target, TrackerReport, encode_report
from services.kafidx.store import find_trackers
from services.kafidx.store.find_trackers import Trackers

REPORT = TrackerReport("10.0.0.1", "", {"accepted": 1}, None, SearchedStore(), SearchedStore())
TARGETS = [Target(id="a b&c"), Target(type="view", params="x=1&y=%20")]


@contextlib.asynccontextmanager
async def tracker(body: bytes, *, status: str = "200 OK", delay_s: float = 0) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve one response to every request. Yield the URL and the request lines."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readline())
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await asyncio.sleep(delay_s)
            writer.write(f"HTTP/1.1 {status}\r\nConnection: close\r\n\r\n".encode() + body)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", requests


async def test_tracker_is_asked_for_the_targets() -> None:
    async with tracker(encode_report(REPORT)) as (url, requests):
        [result] = await Trackers([url]).search(TARGETS)
    assert (result.address, result.report, result.error) == (url, REPORT, "")
    assert requests == [b"GET /find?id=a+b%26c&type=view&params=x%3D1%26y%3D%2520 HTTP/1.1\r\n"]


async def test_every_address_of_a_name_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with tracker(encode_report(REPORT)) as (url, requests):
        port = int(url.rpartition(":")[2])

        async def two_addresses(*_: Any, **__: Any) -> list[Any]:
            return [(2, 1, 6, "", (host, port)) for host in ("127.0.0.1", "127.0.0.2", "127.0.0.1")]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two_addresses, raising=False)
        results = await find_trackers._resolve(f"http://tracker-pods:{port}")
        monkeypatch.undo()
    assert [each.address for each in results] == [f"http://127.0.0.1:{port}", f"http://127.0.0.2:{port}"]
    assert requests == []


async def test_no_url_gives_no_result() -> None:
    assert await Trackers([]).search(TARGETS) == []


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"{}", "200 OK", "not a report"),
        (b"\xff", "200 OK", "not a report"),
        (b"", "404 Not Found", "status 404"),
        (b"", "302 Found\r\nLocation: http://127.0.0.1:1/", "status 302"),
        (b" " * 1_048_577, "200 OK", "has over 1,048,576 bytes"),
    ],
)
async def test_unusable_response_is_reported(body: bytes, status: str, error: str) -> None:
    async with tracker(body, status=status) as (url, _):
        [result] = await Trackers([url]).search(TARGETS)
    assert result.report is None
    assert error in result.error


async def test_tracker_that_does_not_respond_does_not_delay_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find_trackers, "_LIMIT_S", 0.3)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refused = f"http://127.0.0.1:{closed.getsockname()[1]}"
        async with tracker(b"", delay_s=30) as (slow, _), tracker(encode_report(REPORT)) as (url, _):
            results = await Trackers([slow, refused, "http://no-such-name.invalid:1", url]).search(TARGETS)
    assert [result.error for result in results] == [
        "no response in time",
        "does not respond (ConnectError)",
        "its name has no address",
        "",
    ]


async def test_search_that_is_too_long_for_a_url_is_an_error_of_the_tracker() -> None:
    async with tracker(encode_report(REPORT)) as (url, requests):
        [result] = await Trackers([url]).search([Target(type="view", params="a=" + "%26" * 15_000)])
    assert (result.report, result.error) == (None, "the URL of the search is invalid (URL too long)")
    assert requests == []


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example"])
async def test_name_that_dns_does_not_allow_has_no_address(host: str) -> None:
    [result] = await Trackers([f"http://{host}:9464"]).search(TARGETS)
    assert (result.report, result.error) == (None, "its name has no address")
