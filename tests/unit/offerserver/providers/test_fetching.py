import asyncio
import datetime as dt
import gzip
import threading
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from services.offerserver.core.exchanges import Validators
from services.offerserver.core.importer import DocumentKind, FeedRequest
from services.offerserver.providers import fetching as fetching_module
from services.offerserver.providers.fetching import FetchFailed, FetchLimits
from tests.unit.backbone.outgoing.certificates import certificate
from tests.unit.backbone.outgoing.test_client import FixedResolver
from tests.unit.offerserver.hostile import AGENT, HostileServer, fetching, hostile_server, reply

OK = reply("[1]", ETag='"v1"', Last_Modified="Mon, 23 Nov 2026 10:00:00 GMT", Set_Cookie="a=b")


def request(server: HostileServer, path: str = "/feed", **changes: Any) -> FeedRequest:
    values: dict[str, Any] = {"url": server.url(path), "kind": "json"} | changes
    return FeedRequest(**values)


async def fetch_error(server: HostileServer, **options: Any) -> FetchFailed:
    async with fetching(**options) as parts:
        with pytest.raises(FetchFailed) as caught:
            await parts.fetcher.fetch(request(server))
    return caught.value


async def test_document_and_its_exchange_are_returned() -> None:
    async with hostile_server() as server, fetching() as parts:
        server.responses["/feed"] = OK
        document, exchange = await parts.fetcher.fetch(request(server))
        assert document is not None
        assert (document.text, document.is_cut, document.headers["etag"]) == ("[1]", False, '"v1"')
        assert (exchange.status, exchange.received_bytes, exchange.body_bytes, exchange.retries) == (200, 3, 3, 0)
        assert exchange.validators == Validators('"v1"', "Mon, 23 Nov 2026 10:00:00 GMT")
        assert "set-cookie" not in exchange.headers
        assert exchange.head == ""
        assert server.requests[0].headers["user-agent"] == AGENT


async def test_stand_in_gets_the_request_with_the_host_of_the_source() -> None:
    async with hostile_server() as server, fetching(stand_in_url=server.url("")) as parts:
        server.responses["/data.example/feed"] = OK
        source = FeedRequest(url="https://data.example/feed?a=1", kind="json")
        document, exchange = await parts.fetcher.fetch(source)
        assert document is not None
        assert (document.url, exchange.url) == (source.url, source.url)
        assert [each.path for each in server.requests] == ["/data.example/feed?a=1"]


async def test_document_is_decoded_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def decode(body: bytes, **_: object) -> str:
        threads.append(threading.get_ident())
        return body.decode()

    monkeypatch.setattr(fetching_module, "document_text", decode)
    async with hostile_server() as server, fetching() as parts:
        server.responses["/feed"] = OK
        await parts.fetcher.fetch(request(server))
    assert len(threads) == 1
    assert threads != [threading.get_ident()]


async def test_unchanged_document_is_not_read_again() -> None:
    async with hostile_server() as server, fetching() as parts:
        server.responses["/feed"] = reply(status=304)
        found = await parts.fetcher.fetch(request(server), Validators('"v1"', "yesterday"))
        assert found.document is None
        assert found.exchange.status == 304
        sent = server.requests[0].headers
        assert (sent["if-none-match"], sent["if-modified-since"]) == ('"v1"', "yesterday")


async def test_form_is_posted_and_a_redirect_makes_it_a_get() -> None:
    async with hostile_server() as server, fetching() as parts:
        server.responses["/feed"] = reply(status=303, Location="/next")
        server.responses["/next"] = OK
        found = await parts.fetcher.fetch(request(server, body=b"data=x"))
        assert [(each.method, each.body) for each in server.requests] == [("POST", b"data=x"), ("GET", b"")]
        assert found.exchange.redirects == (server.url("/next"),)


async def test_redirects_are_followed_five_times() -> None:
    async with hostile_server() as server, fetching() as parts:
        for number in range(5):
            server.responses[f"/{number}"] = reply(status=302, Location=f"/{number + 1}")
        server.responses["/5"] = OK
        assert (await parts.fetcher.fetch(request(server, "/0"))).document is not None


async def test_redirect_loop_is_refused() -> None:
    async with hostile_server() as server:
        server.responses["/feed"] = reply(status=302, Location="/feed")
        error = await fetch_error(server)
        assert str(error) == "more than 5 redirects"
        assert len(server.requests) == 6


@pytest.mark.parametrize(
    "target",
    ["http://10.0.0.1/", "http://169.254.169.254/latest/", "http://[::1]/", "http://[::ffff:10.0.0.1]/", "ftp://a/"],
)
async def test_redirect_to_a_refused_address_is_not_followed(target: str) -> None:
    async with hostile_server() as server:
        server.responses["/feed"] = reply(status=302, Location=target)
        error = await fetch_error(server)
        assert " is " in str(error) or "must begin with http" in str(error)
        assert error.exchange.redirects == (target,)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_failure_that_may_end_is_retried(status: int) -> None:
    async with hostile_server() as server, fetching() as parts:
        server.responses["/feed"] = [reply(status=status), OK]
        found = await parts.fetcher.fetch(request(server))
        assert found.document is not None
        assert found.exchange.retries == 1
        least_s, most_s = (30.0, 30.0) if status == 429 else (0.5, 1.0)
        assert least_s <= parts.pauses[0] <= most_s


async def test_retries_end_after_three_attempts() -> None:
    async with hostile_server() as server:
        server.responses["/feed"] = reply("Sorry", status=503)
        error = await fetch_error(server)
        assert str(error) == "status 503"
        assert (len(server.requests), error.exchange.retries, error.exchange.head) == (3, 2, "Sorry")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 501])
async def test_other_failure_is_not_retried(status: int) -> None:
    async with hostile_server() as server:
        server.responses["/feed"] = reply(status=status)
        assert str(await fetch_error(server)) == f"status {status}"
        assert len(server.requests) == 1


async def test_retry_after_is_waited_for() -> None:
    soon = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=40), usegmt=True)
    async with hostile_server() as server, fetching() as parts:
        server.responses["/feed"] = [reply(status=429, Retry_After="7"), reply(status=429, Retry_After=soon), OK]
        await parts.fetcher.fetch(request(server))
        assert parts.pauses[0] == 7.0
        assert 30 < parts.pauses[1] <= 40


async def test_retry_after_of_a_day_is_left_to_the_next_run() -> None:
    async with hostile_server() as server:
        server.responses["/feed"] = reply(status=429, Retry_After="86400")
        assert str(await fetch_error(server)) == "status 429; it asks to wait for 86400 s"
        assert len(server.requests) == 1


async def test_body_that_ends_early_is_returned_as_cut() -> None:
    async with hostile_server() as server, fetching() as parts:
        server.responses["/feed"] = reply("[1, 2", length=100)
        document = (await parts.fetcher.fetch(request(server))).document
        assert document is not None
        assert (document.text, document.is_cut) == ("[1, 2", True)


async def test_partial_status_counts_as_cut() -> None:
    async with hostile_server() as server, fetching() as parts:
        server.responses["/feed"] = reply("[1]", status=206)
        document = (await parts.fetcher.fetch(request(server))).document
        assert document is not None
        assert document.is_cut


async def test_page_in_place_of_data_is_refused_with_its_begin() -> None:
    async with hostile_server() as server:
        server.responses["/feed"] = reply("<!doctype html><title>Log in</title>" + "x" * 5_000)
        error = await fetch_error(server)
        assert str(error) == "the response is an HTML page (Log in) where json should be"
        assert error.exchange.head.startswith("<!doctype html>")
        assert len(error.exchange.head) == 2_048


async def test_endless_body_is_refused_at_the_limit() -> None:
    async def speak(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"[" * 65_536)
            await writer.drain()

    async with hostile_server() as server:
        server.responses["/feed"] = speak
        assert str(await fetch_error(server)) == "the body has more than 10000000 bytes"
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("coding", "reason"),
    [("gzip", "the body has more than "), ("br", "'br' was not asked for")],
)
async def test_bomb_is_refused(coding: str, reason: str) -> None:
    async with hostile_server() as server:
        server.responses["/feed"] = reply(gzip.compress(bytes(100_000_000)), Content_Encoding=coding)
        assert reason in str(await fetch_error(server))


async def test_slow_drip_ends_at_the_time_limit() -> None:
    async def speak(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b"[")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with hostile_server() as server:
        server.responses["/feed"] = speak
        error = await fetch_error(server, timeout_s=0.4, limits=FetchLimits(attempts=2))
        assert str(error) == "no complete response within the time limit"
        assert len(server.requests) == 2


async def test_server_that_never_responds_ends_at_the_time_limit() -> None:
    async def speak(writer: asyncio.StreamWriter) -> None:
        del writer
        await asyncio.sleep(30)

    async with hostile_server() as server:
        server.responses["/feed"] = speak
        error = await fetch_error(server, timeout_s=5.0, read_timeout_s=0.3, limits=FetchLimits(attempts=1))
        assert str(error) == "no complete response within the time limit"
        assert error.exchange.status == 0


async def test_host_gets_one_request_at_a_time() -> None:
    async def speak(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.02)
        writer.write(OK)

    async with hostile_server() as server, fetching() as parts:
        server.responses["/feed"] = speak
        await asyncio.gather(*(parts.fetcher.fetch(request(server)) for _ in range(5)))
        assert (server.most_open, len(server.requests)) == (1, 5)


@pytest.mark.parametrize(("kind", "is_asked"), [("page", True), ("json", False)])
async def test_robots_are_asked_for_pages_only(kind: DocumentKind, *, is_asked: bool) -> None:
    async with hostile_server() as server, fetching() as parts:
        server.responses["/feed"] = OK
        await parts.fetcher.fetch(request(server, kind=kind))
        assert ("/robots.txt" in [each.path for each in server.requests]) is is_asked


async def test_page_that_robots_do_not_permit_is_not_fetched() -> None:
    async with hostile_server() as server, fetching() as parts:
        server.responses["/robots.txt"] = reply("User-agent: *\nDisallow: /private\nCrawl-delay: 4\n")
        server.responses["/public"] = reply(status=302, Location="/private/x")
        with pytest.raises(FetchFailed, match=r"robots\.txt does not permit this page"):
            await parts.fetcher.fetch(request(server, "/public", kind="page"))
        assert [each.path for each in server.requests] == ["/robots.txt", "/public"]
        assert parts.turns.delays == [1.0, 4.0]


async def test_robots_are_read_again_after_a_failure_and_in_the_turn_of_the_host() -> None:
    async with hostile_server() as server, fetching() as parts:
        server.responses["/robots.txt"] = [reply(status=503, Retry_After="7"), b"nonsense", reply("")]
        server.responses["/feed"] = OK
        found = await parts.fetcher.fetch(request(server, kind="page"))
        assert found.document is not None
        assert [each.path for each in server.requests] == [*["/robots.txt"] * 3, "/feed"]
        assert (found.exchange.retries, parts.pauses[0]) == (2, 7.0)
        assert len(parts.turns.delays) == 4


async def test_page_is_not_fetched_without_its_robots() -> None:
    async with hostile_server() as server, fetching() as parts:
        server.responses["/robots.txt"] = reply(status=500)
        with pytest.raises(FetchFailed, match=r"^robots\.txt can't be read: status 500$"):
            await parts.fetcher.fetch(request(server, kind="page"))
        assert [each.path for each in server.requests] == ["/robots.txt"] * 3


@pytest.mark.parametrize(
    ("age_h", "name", "trusts"),
    [(1, "feed.example", False), (5, "feed.example", True), (1, "other.example", True)],
    ids=["self-signed", "expired", "wrong name"],
)
async def test_certificate_that_cannot_be_verified_is_refused(
    tmp_path: Path, *, age_h: int, name: str, trusts: bool
) -> None:
    serving, trusting = certificate(tmp_path, name, age=dt.timedelta(hours=age_h))
    options: dict[str, Any] = {"ssl_context": trusting if trusts else True, "resolver": FixedResolver("127.0.0.1")}
    async with hostile_server(tls=serving) as server, fetching(**options) as parts:
        server.responses["/feed"] = OK
        url = f"https://feed.example:{server.port}/feed"
        with pytest.raises(FetchFailed, match="Certificate"):
            await parts.fetcher.fetch(FeedRequest(url=url, kind="json"))
        assert server.requests == []


async def test_certificate_that_can_be_verified_is_accepted(tmp_path: Path) -> None:
    serving, trusting = certificate(tmp_path, "feed.example")
    options: dict[str, Any] = {"ssl_context": trusting, "resolver": FixedResolver("127.0.0.1")}
    async with hostile_server(tls=serving) as server, fetching(**options) as parts:
        server.responses["/feed"] = OK
        found = await parts.fetcher.fetch(FeedRequest(url=f"https://feed.example:{server.port}/feed", kind="json"))
        assert found.document is not None
