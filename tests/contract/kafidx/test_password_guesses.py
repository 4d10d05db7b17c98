"""Wrong passwords: delays by address, metrics and log lines."""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from yarl import URL

from services.backbone.pages.failed_logins import FREE_FAILURES
from tests.contract.kafidx.serving import LOGIN, REFUSED, Kafidx, serving

DELAYED = 429
WRONG = {"Authorization": "Basic " + base64.b64encode(b"kafidx:wrong").decode()}
KAFKA_AWAY = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}


def via(address: str) -> dict[str, str]:
    """Return the header of a proxy: the address that the client has sent, then the real one."""
    return {"X-Forwarded-For": f"203.0.113.99, {address}"}


@pytest.fixture
async def guarded(redis_server: Any, environ: dict[str, str]) -> AsyncIterator[Kafidx]:
    """Start kafidx with loopback as the trusted proxy."""
    settings = {"COUNTERS_REDIS_URL": redis_server.url, "TRUSTED_PROXIES": "127.0.0.0/8"}
    async with serving(environ | KAFKA_AWAY | settings) as running:
        yield running


async def statuses(kafidx: Kafidx, count: int, headers: dict[str, str]) -> list[int]:
    return [(await kafidx.get("/static/push/push.css", headers))[0] for _ in range(count)]


async def test_wrong_passwords_delay_the_address_and_no_other(guarded: Kafidx) -> None:
    stranger = WRONG | via("192.0.2.7")
    assert await statuses(guarded, FREE_FAILURES + 2, stranger) == [REFUSED] * FREE_FAILURES + [DELAYED] * 2
    status, text, headers = await guarded.get("/", LOGIN | via("192.0.2.7"))
    assert (status, headers["Retry-After"]) == (DELAYED, "1")
    assert text == "Too many wrong passwords came from 192.0.2.7. Try again in 1 s.\n"
    # An operator at another address is served. A request without a password from the same address is not delayed.
    assert await statuses(guarded, 1, LOGIN | via("192.0.2.8")) == [200]
    assert await statuses(guarded, 1, via("192.0.2.7")) == [REFUSED]
    await asyncio.sleep(1.1)  # the time of Retry-After
    assert await statuses(guarded, 1, LOGIN | via("192.0.2.7")) == [200]
    # The next wrong password doubles the delay.
    assert await statuses(guarded, 1, stranger) == [REFUSED]
    assert (await guarded.get("/", stranger))[2]["Retry-After"] == "2"


async def test_trailer_field_does_not_set_the_address_of_a_client(guarded: Kafidx) -> None:
    # A proxy removes the client's header field, but not a field after a chunked body (a trailer).
    head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nX-Forwarded-For: 192.0.2.7\r\n"
    trailers = "0\r\nX-Forwarded-For: 192.0.2.8\r\n\r\n"
    request = f"{head}Authorization: {WRONG['Authorization']}\r\n\r\n{trailers}"
    for _ in range(FREE_FAILURES):
        reader, writer = await asyncio.open_connection("127.0.0.1", URL(guarded.url).port)
        writer.write(request.encode())
        assert (await reader.readline()).split()[1] == str(REFUSED).encode()
        writer.close()
    assert await statuses(guarded, 1, LOGIN | via("192.0.2.7")) == [DELAYED]
    assert await statuses(guarded, 1, LOGIN | via("192.0.2.8")) == [200]


async def test_of_1000_guesses_at_once_from_one_network_five_are_checked(guarded: Kafidx) -> None:
    async def guess(number: int) -> int:
        return (await guarded.get("/", WRONG | via(f"2001:db8:1:2::{number:x}")))[0]

    found = [
        status for first in range(0, 1000, 50) for status in await asyncio.gather(*map(guess, range(first, first + 50)))
    ]
    # The guesses take a second or two, after which a few more are checked.
    assert found[:FREE_FAILURES].count(REFUSED) == FREE_FAILURES
    assert found.count(REFUSED) <= FREE_FAILURES + 4
    assert set(found) == {REFUSED, DELAYED}


async def test_forwarded_address_is_ignored_without_a_trusted_proxy(environ: dict[str, str]) -> None:
    async with serving(environ | KAFKA_AWAY | {"TRUSTED_PROXIES": ""}) as kafidx:
        found = [(await kafidx.get("/", WRONG | via(f"192.0.2.{number}")))[0] for number in range(FREE_FAILURES + 1)]
    assert found == [REFUSED] * FREE_FAILURES + [DELAYED]


async def test_wrong_passwords_and_missing_ones_are_counted_separately(
    guarded: Kafidx, environ: dict[str, str]
) -> None:
    await statuses(guarded, 3, via("192.0.2.7"))
    await statuses(guarded, FREE_FAILURES + 4, WRONG | via("192.0.2.7"))
    async with aiohttp.ClientSession() as http:
        response = await http.get(f"http://127.0.0.1:{environ['INTERNAL_PORT']}/metrics")
        metrics = dict(line.rsplit(" ", 1) for line in (await response.text()).splitlines() if line[0] != "#")
    counted = {
        reason: float(metrics[f'push_kafidx_subscribers_refused_total{{reason="{reason}"}}'])
        for reason in ("credentials", "password", "delayed")
    }
    assert counted["credentials"] >= 3
    assert (counted["password"], counted["delayed"]) == (FREE_FAILURES, 4)


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, REFUSED), (WRONG, REFUSED), (LOGIN | {"Origin": "http://evil.example"}, 403), (LOGIN, DELAYED)],
)
async def test_refused_upgrade_writes_no_error_line(
    guarded: Kafidx, headers: dict[str, str], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    source = via("192.0.2.9")
    if status == DELAYED:
        await statuses(guarded, FREE_FAILURES, WRONG | source)
    with caplog.at_level(logging.INFO):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with guarded.socket("", headers | source):
                pass
        assert refused.value.status == status
        await guarded.get("/static/push/push.css")  # after this request the log lines of the upgrade are written
    assert any("connection rejected" in record.message for record in caplog.records)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
