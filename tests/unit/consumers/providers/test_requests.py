import contextlib
import socket
from ipaddress import ip_network

import pytest

from deploy.develop.localstack.ports import LOOPBACK, free_port
from services.backbone.clients import ServiceUnavailable
from services.backbone.outgoing import OutgoingClient
from services.consumers.providers.requests import Provider
from tests.unit.consumers.providers.replaying import MemoryLimit, replaying


async def test_request_over_the_limit_is_not_sent() -> None:
    async with replaying("message_sent") as (replay, provider, url):
        replay.limit.room = 1
        await provider.request("GET", url)
        with pytest.raises(ServiceUnavailable, match="the rate limit is reached") as raised:
            await provider.request("GET", url)
    assert raised.value.wait_s == 30
    assert len(replay.requests) == 1


@pytest.mark.parametrize(("next_room", "sent"), [(1, 1), (0, 0)])
async def test_room_that_comes_within_a_second_is_waited_for_once(next_room: int, sent: int) -> None:
    async with replaying("message_sent") as (replay, provider, url):
        replay.limit.room, replay.limit.wait_s, replay.limit.next_room = 0, 0.01, next_room
        with contextlib.nullcontext() if sent else pytest.raises(ServiceUnavailable, match="the rate limit is reached"):
            await provider.request("GET", url)
    assert len(replay.requests) == sent


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": "7"}, 7),
        ({"X-RateLimit-RetryAfter": "3"}, 3),
        ({"Retry-After": "99999"}, 3600),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 10),
        ({"Retry-After": "-1"}, 10),
        ({}, 10),
    ],
)
async def test_limit_is_closed_for_the_time_that_the_provider_names_or_ten_seconds(
    headers: dict[str, str], wait_s: float
) -> None:
    async with replaying("over_rate_limit", status=429, headers=headers) as (replay, provider, url):
        with pytest.raises(ServiceUnavailable, match="status 429") as raised:
            await provider.check_status(await provider.request("GET", url))
    assert raised.value.wait_s == replay.limit.closed_s == wait_s


async def test_outage_without_a_time_to_wait_leaves_the_limit_open() -> None:
    async with replaying(status=503) as (replay, provider, url):
        with pytest.raises(ServiceUnavailable, match="status 503") as raised:
            await provider.check_status(await provider.request("GET", url))
    assert raised.value.wait_s == replay.limit.closed_s == 0


async def test_provider_without_a_connection_is_unavailable() -> None:
    async with OutgoingClient(timeout_s=1.0, allowed=[ip_network("127.0.0.0/8")]) as client:
        with pytest.raises(ServiceUnavailable, match=r"^GeoNames: "):
            await Provider("GeoNames", client, MemoryLimit()).request("GET", f"http://{LOOPBACK}:{free_port()}")


async def test_provider_that_does_not_respond_is_unavailable() -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:  # the kernel accepts connections for it
        url = f"http://{LOOPBACK}:{silent.getsockname()[1]}"
        async with OutgoingClient(timeout_s=0.2, allowed=[ip_network("127.0.0.0/8")]) as client:
            with pytest.raises(ServiceUnavailable, match="time limit"):
                await Provider("GeoNames", client, MemoryLimit()).request("GET", url)


async def test_address_that_is_not_public_is_unavailable() -> None:
    async with OutgoingClient(timeout_s=1.0) as client:
        with pytest.raises(ServiceUnavailable, match="loopback"):
            await Provider("GeoNames", client, MemoryLimit()).request("GET", f"http://{LOOPBACK}:{free_port()}")
