import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from deploy.develop.localstack.ports import LOOPBACK
from deploy.develop.localstack.redis import LocalRedis
from services.backbone.queue.script_runner import ScriptRunner
from services.backbone.redis import connect

ECHO = "return ARGV[1]"
COUNT = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
SLOW = "local s = redis.call('TIME')[1] repeat until redis.call('TIME')[1] - s >= 2 return ARGV[1]"


@pytest.fixture
async def redis(clean_redis: LocalRedis) -> AsyncIterator[Redis]:
    async with connect(clean_redis.url, timeout_s=5.0) as client:
        yield client


def in_use(redis: Redis) -> int:
    return len(redis.connection_pool._in_use_connections)


async def test_script_runs_with_unchanged_keys_and_arguments(redis: Redis) -> None:
    odd = bytes(range(256)) * 1000
    assert await ScriptRunner(redis, ECHO).run([], [odd]) == odd
    runner = ScriptRunner(redis, COUNT)
    assert [await runner.run(["n"], [2]) for _ in range(3)] == [2, 4, 6]


async def test_script_is_loaded_again_when_the_server_lost_it(redis: Redis) -> None:
    runner = ScriptRunner(redis, COUNT)
    await runner.run(["n"], [1])
    await redis.script_flush()
    assert await runner.run(["n"], [1]) == 2


async def test_run_after_an_error_succeeds(redis: Redis) -> None:
    runner = ScriptRunner(redis, COUNT)
    await redis.set("n", "text")
    with pytest.raises(ResponseError, match="not an integer"):
        await runner.run(["n"], [1])
    assert await runner.run(["m"], [1]) == 1


async def test_connection_closed_by_the_server_is_replaced(redis: Redis) -> None:
    runner = ScriptRunner(redis, COUNT)
    await runner.run(["n"], [1])
    await redis.client_kill_filter(_type="normal", skipme=True)
    await asyncio.sleep(0.05)  # until the end of the connection has arrived
    assert await runner.run(["n"], [1]) == 2


async def test_late_response_is_discarded(redis: Redis) -> None:
    runner = ScriptRunner(redis, SLOW)
    with pytest.raises(RedisTimeoutError):
        await runner.run([], [b"late"], timeout_s=0.1)
    cancelled = asyncio.create_task(runner.run([], [b"cancelled"]))
    await asyncio.sleep(0.05)
    cancelled.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await cancelled
    assert await runner.run([], [b"asked"]) == b"asked"


async def test_concurrent_runs_keep_two_connections_at_most(redis: Redis) -> None:
    runner = ScriptRunner(redis, ECHO)
    responses = await asyncio.gather(*(runner.run([], [b"%d" % number]) for number in range(20)))
    assert responses == [b"%d" % number for number in range(20)]
    assert in_use(redis) == 2


ReceivedResponse = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def server_that(responses: ReceivedResponse) -> AsyncIterator[Redis]:
    """A server that accepts the handshake of the client, and sends the response of a test to each EVALSHA."""

    served: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                words = [await _word(reader) for _ in range(int((await reader.readuntil(b"\r\n"))[1:]))]
                if words[0] == b"EVALSHA":
                    await responses(reader, writer)
                else:
                    writer.write(b"%1\r\n+proto\r\n:3\r\n" if words[0] == b"HELLO" else b"+OK\r\n")
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, LOOPBACK, 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with connect(f"redis://{LOOPBACK}:{port}/0", timeout_s=2.0) as client:
            yield client
        await asyncio.gather(*filter(None, served))


async def _word(reader: asyncio.StreamReader) -> bytes:
    length = int((await reader.readuntil(b"\r\n"))[1:])
    return (await reader.readexactly(length + 2))[:-2]


async def test_push_notification_is_not_a_response() -> None:
    number = 0

    async def announcing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal number
        number += 1
        writer.write(b">3\r\n+MIGRATING\r\n:1\r\n:2\r\n:%d\r\n" % number)

    async with server_that(announcing) as redis:
        runner = ScriptRunner(redis, ECHO)
        assert [await runner.run([], []) for _ in range(3)] == [1, 2, 3]


async def test_unexpected_response_closes_the_connection() -> None:
    async def twice(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b":1\r\n:2\r\n")

    async with server_that(twice) as redis:
        runner = ScriptRunner(redis, ECHO)
        # The second response may arrive with the first one or later. It is never the response to the next command.
        for _ in range(3):
            with contextlib.suppress(RedisError):
                assert await runner.run([], []) == 1
            await asyncio.sleep(0.02)


async def test_response_in_pieces_is_complete_or_an_error() -> None:
    async def in_pieces(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in (b"$", b"5\r\nhe", b"llo\r", b"\n"):
            writer.write(piece)
            await asyncio.sleep(0.01)

    async with server_that(in_pieces) as redis:
        assert await ScriptRunner(redis, ECHO).run([], []) == b"hello"

    async def half(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"$5\r\nhe")
        await writer.drain()
        writer.close()

    async with server_that(half) as redis:
        with pytest.raises(RedisConnectionError):
            await ScriptRunner(redis, ECHO).run([], [])
        assert in_use(redis) == 0
