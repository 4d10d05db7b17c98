import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from deploy.develop.localstack.redis import LocalRedis
from services.backbone.counters import ApplyResult, CounterStore, Update
from services.backbone.redis import connect


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[LocalRedis]:
    """Start a Redis that the test may restart."""
    server = LocalRedis(data=tmp_path / "data", log=tmp_path / "redis.log")
    try:
        server.start()
        server.wait_ready()
        yield server
    finally:
        server.process.stop()


def update(first: int) -> Update:
    return Update(0, first, first + 1, events=1, last_received_ms=1, counts={"a": 1})


async def test_first_command_after_a_restart_fails_by_default(own_redis: LocalRedis) -> None:
    async with connect(own_redis.url, timeout_s=5) as client:
        await client.ping()
        own_redis.process.stop()
        own_redis.start()
        own_redis.wait_ready()
        with pytest.raises(RedisConnectionError):
            await client.rpush("list", "entry")
        assert await client.llen("list") == 0
        assert await client.rpush("list", "entry") == 1


async def test_responses_are_bytes_or_text_as_requested(clean_redis: LocalRedis) -> None:
    async with connect(clean_redis.url, timeout_s=5) as client:
        await client.set("key", b"\xff")
        assert await client.get("key") == b"\xff"
    async with connect(clean_redis.url, timeout_s=5, text="replace") as client:
        assert await client.get("key") == "\ufffd"
    async with connect(clean_redis.url, timeout_s=5, text="strict") as client:
        with pytest.raises(UnicodeDecodeError):
            await client.get("key")


async def test_first_commands_after_a_restart_succeed_when_resend_is_set(own_redis: LocalRedis) -> None:
    async with connect(own_redis.url, timeout_s=5, resend=True, text="strict") as client:
        store = CounterStore(client)
        await store.begin("c", 0, at=0)
        await asyncio.gather(*(client.ping() for _ in range(4)))  # four connections in the pool
        for first in range(3):
            own_redis.process.stop()
            own_redis.start()
            own_redis.wait_ready()
            # A pipeline of scripts, a transaction, a pipeline and a single command, each on a closed connection.
            assert await store.apply("c", [update(first)], max_labels=10) == ApplyResult(set(), {})
            assert await store.begin("c", 0, at=0) == first + 1
            async with client.pipeline(transaction=False) as pipeline:
                pipeline.ping()
                assert await pipeline.execute() == [True]
            assert await store.counts("c") == {"a": first + 1}


async def test_command_is_not_sent_again_when_redis_does_not_respond(own_redis: LocalRedis) -> None:
    async with connect(own_redis.url, timeout_s=0.5, resend=True, text="strict") as client:
        await client.ping()
        own_redis.process.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        try:
            with pytest.raises(RedisError):
                await client.ping()
        finally:
            own_redis.process.send_signal(signal.SIGCONT)
        assert time.monotonic() - begun < 0.95
