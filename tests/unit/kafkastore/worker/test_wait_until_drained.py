import asyncio
import os
import socket
import subprocess
import sys
import time

import pytest
from redis.asyncio import Redis

from deploy.develop.localstack.redis import LocalRedis
from services.backbone.queue import EventQueue
from services.kafkastore.settings import Settings
from services.kafkastore.worker.wait_until_drained import wait_until_drained


@pytest.fixture
def settings(clean_redis: LocalRedis) -> Settings:
    return Settings.from_env({"REDIS_URL": clean_redis.url})


async def push(url: str, entries: int) -> None:
    async with Redis.from_url(url) as redis:
        await EventQueue(redis).push([b"entry"] * entries)


async def test_wait_until_drained_returns_at_once_for_an_empty_queue(settings: Settings) -> None:
    assert await wait_until_drained(settings, within_s=5, until_closed=0)


async def test_wait_until_drained_waits_for_entries_and_claims(settings: Settings, clean_redis: LocalRedis) -> None:
    await push(clean_redis.url, 2)
    waiting = asyncio.create_task(wait_until_drained(settings, within_s=20, until_closed=0))
    async with Redis.from_url(clean_redis.url) as redis:
        queue = EventQueue(redis, instance="a")
        claim = await queue.claim(limit=10, max_bytes=1000, wait_s=0)
        assert claim is not None
        await asyncio.sleep(0.6)
        assert not waiting.done()
        await queue.confirm(claim, produced=2, dead=0)
    assert await waiting


async def test_wait_until_drained_returns_false_at_its_limit(settings: Settings, clean_redis: LocalRedis) -> None:
    await push(clean_redis.url, 1)
    assert not await wait_until_drained(settings, within_s=0.5, until_closed=0)


async def test_wait_until_drained_returns_false_when_redis_is_down() -> None:
    settings = Settings.from_env({"REDIS_URL": "redis://127.0.0.1:1/0"})
    assert not await wait_until_drained(settings, within_s=0.5, until_closed=0)


async def test_wait_until_drained_waits_while_a_tracker_listens(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tracker:
        port = tracker.getsockname()[1]
        assert not await wait_until_drained(settings, within_s=0.6, until_closed=port)
    assert await wait_until_drained(settings, within_s=5, until_closed=port)


@pytest.mark.parametrize(("entries", "code"), [(0, 0), (1, 1)])
async def test_command_exit_code_is_its_result(clean_redis: LocalRedis, entries: int, code: int) -> None:
    if entries:
        await push(clean_redis.url, entries)
    begin = time.monotonic()
    command = [sys.executable, "-m", "services.kafkastore", "wait-until-drained", "--seconds", "1"]
    environ = os.environ | {"REDIS_URL": clean_redis.url}
    done = await asyncio.to_thread(
        subprocess.run, command, env=environ, capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == code, done.stderr
    assert ("not drained within 1 s" in done.stderr) == bool(entries)
    assert time.monotonic() - begin < 20
