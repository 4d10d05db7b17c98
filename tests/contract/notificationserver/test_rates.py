"""How fast notifications are delivered, and what a host that never responds changes."""

import asyncio
import contextlib
import json
import statistics
import time
from collections.abc import AsyncIterator

import aiohttp
import psutil
import pytest

from tests.contract.notificationserver.serving import (
    SERVICE,
    Receiver,
    client_of,
    match,
    process,
    register,
    until,
    wait_until_ready,
)

HOSTS = 10
NUMBER = 1_000
HELD = 200
LONG_LEASE = {"NOTIFY_ATTEMPT_TIMEOUT_S": "15", "NOTIFY_LEASE_S": "60"}


@contextlib.asynccontextmanager
async def registered(
    environ: dict[str, str], receiver: Receiver, hanging: Receiver
) -> AsyncIterator[tuple[aiohttp.ClientSession, psutil.Process]]:
    """Run the notificationserver, with the devices of 10 hosts that respond and of one that does not.

    The client is one of aiohttp: with httpx the client would take longer than the notificationserver.
    """
    receiver.delay_s = 0.05
    hanging.hangs = True
    with process(environ | LONG_LEASE) as started:
        await wait_until_ready(environ)
        async with client_of(environ) as client:
            for host in range(HOSTS):
                # Loopback has many addresses: each is a host of its own, with its own slots.
                await register(client, f"device{host}", callback_url=f"http://127.0.0.{host + 2}:{receiver.port}/")
            await register(client, "held", callback_url=hanging.url)
        url = f"http://127.0.0.1:{environ['NOTIFY_PORT']}"
        login = {"Authorization": aiohttp.encode_basic_auth(*SERVICE)}
        async with aiohttp.ClientSession(url, headers=login) as session:
            yield session, psutil.Process(started.pid)


async def send(client: aiohttp.ClientSession, device: str, number: int) -> None:
    body = match(number, match_id=f"s.o.{number}")
    body["offer"]["device_id"] = device
    while True:
        with contextlib.suppress(aiohttp.ClientError):  # the server closes connections that were idle for 5 s
            async with client.post("/notify", json=body) as response:
                assert response.status == 202
                return


async def send_all(client: aiohttp.ClientSession, first: int) -> dict[str, float]:
    """Send 1,000 notifications as fast as 50 connections can. Return when each was sent."""
    sent_s: dict[str, float] = {}
    slots = asyncio.Semaphore(50)

    async def one(number: int) -> None:
        async with slots:
            sent_s[f"s.o.{number}.offer"] = time.time()
            await send(client, f"device{number % HOSTS}", number)

    await asyncio.gather(*map(one, range(first, first + NUMBER)))
    return sent_s


async def measured(
    client: aiohttp.ClientSession, server: psutil.Process, receiver: Receiver, first: int
) -> dict[str, float]:
    receiver.requests.clear()
    begun_s, cpu_s = time.time(), sum(server.cpu_times()[:2])
    sent_s = await send_all(client, first)
    accepted_s = time.time()
    await until(lambda: len(receiver.requests) >= NUMBER, limit_s=120.0)
    ended_s = time.time()
    assert len(set(receiver.ids)) == NUMBER
    ages = sorted(each.at_s - sent_s[each.message_id] for each in receiver.requests)
    return {
        "cpu_s": round(sum(server.cpu_times()[:2]) - cpu_s, 2),
        "accepted_s": round(accepted_s - begun_s, 2),
        "delivered_s": round(ended_s - begun_s, 2),
        "p50_s": round(statistics.median(ages), 2),
        "p99_s": round(ages[int(0.99 * NUMBER)], 2),
    }


@pytest.mark.slow
@pytest.mark.measures
@pytest.mark.timeout(600)
async def test_thousand_notifications_are_delivered_fast_also_beside_a_host_that_never_responds(
    environ: dict[str, str], receiver: Receiver
) -> None:
    async with Receiver().listening() as hanging, registered(environ, receiver, hanging) as (client, server):
        await measured(client, server, receiver, 0)  # the first run opens the connections
        alone = await measured(client, server, receiver, NUMBER)
        await asyncio.gather(*(send(client, "held", 10 * NUMBER + number) for number in range(HELD)))
        await until(lambda: len(hanging.requests) > 0)
        beside = await measured(client, server, receiver, 2 * NUMBER)
        assert hanging.most_open <= 16  # 8 slots, and connections that are being closed
    print(json.dumps({"alone": alone, "beside": beside}))  # noqa: T201 - this test reports its measurement
    assert alone["delivered_s"] < 4.0
    assert beside["p99_s"] - alone["p99_s"] < 1.0
