import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from deploy.develop.localstack.ports import LOOPBACK, free_port
from deploy.develop.localstack.relay import Relay

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1024):
        writer.write(data)
    writer.close()


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    server = await asyncio.start_server(echo, LOOPBACK, 0)
    async with Relay(server.sockets[0].getsockname()[1]) as relay:
        yield relay
    server.close()


@contextlib.asynccontextmanager
async def connected(relay: Relay) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection(LOOPBACK, relay.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ask(streams: Streams, *, limit_s: float = 5) -> bytes:
    reader, writer = streams
    writer.write(b"ping")
    return await asyncio.wait_for(reader.read(4), limit_s)


async def is_cut(streams: Streams) -> bool:
    try:
        return await asyncio.wait_for(streams[0].read(4), 5) == b""
    except ConnectionError:
        return True


async def test_relay_forwards_everything_by_default(relay: Relay) -> None:
    async with connected(relay) as streams:
        assert await ask(streams) == b"ping"


async def test_relay_adds_latency_in_both_directions(relay: Relay) -> None:
    async with connected(relay) as streams:
        relay.latency_s = 0.1
        begun = time.monotonic()
        assert await ask(streams) == b"ping"
        assert time.monotonic() - begun >= 0.2


async def test_stalled_data_is_forwarded_after_heal(relay: Relay) -> None:
    async with connected(relay) as streams:
        relay.stall()
        with pytest.raises(TimeoutError):
            await ask(streams, limit_s=0.2)
        relay.heal()
        assert await asyncio.wait_for(streams[0].read(4), 5) == b"ping"


async def test_cut_resets_connections_and_refuses_new_ones_until_heal(relay: Relay) -> None:
    async with connected(relay) as streams:
        assert await ask(streams) == b"ping"
        relay.cut()
        assert await is_cut(streams)
    async with connected(relay) as streams:
        assert await is_cut(streams)
    relay.heal()
    async with connected(relay) as streams:
        assert await ask(streams) == b"ping"


async def test_connection_is_reset_when_the_target_does_not_listen() -> None:
    async with Relay(free_port()) as relay, connected(relay) as streams:
        assert await is_cut(streams)


async def test_inspect_sees_client_data_before_it_is_forwarded_and_may_stall_it() -> None:
    received: list[bytes] = []

    async def record(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1024):
            received.append(data)
        writer.close()

    def stall_on_ping(chunk: bytes) -> None:
        if chunk == b"ping":
            stalling.stall()

    server = await asyncio.start_server(record, LOOPBACK, 0)
    target = server.sockets[0].getsockname()[1]
    async with Relay(target, inspect=stall_on_ping) as stalling, connected(stalling) as streams:
        with pytest.raises(TimeoutError):
            await ask(streams, limit_s=0.2)
    server.close()
    assert received == []
