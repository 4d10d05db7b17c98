"""Pages and sockets while Redis or Kafka does not respond."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.develop.localstack.redis import LocalRedis
from services.backbone.kafka import EventProducer
from tests.contract.kafidx.serving import Kafidx, each_once_in_order, event, numbers, produce, serving


class Frozen:
    """A broker whose process can be stopped by SIGSTOP: it keeps its connections and does not respond."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def freeze(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self._pid, signal.SIGCONT)


@pytest.fixture
def broker(kafka_broker: Any) -> Iterator[Frozen]:
    frozen = Frozen(kafka_broker.process.pid)
    yield frozen
    frozen.thaw()


async def test_pages_show_an_outage_of_redis_or_kafka(environ: dict[str, str]) -> None:
    away = environ | {"COUNTERS_REDIS_URL": "redis://127.0.0.1:1/0", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    async with serving(away) as kafidx:
        for path, status in (
            ("/", 200),
            ("/kafidx", 200),
            ("/consumers", 503),
            ("/consumers/event_counter/page", 503),
            ("/consumers/event_counter/data", 503),
            ("/dead", 503),
            ("/kafidx/event?partition=0&offset=0", 503),
        ):
            assert (await kafidx.get(path))[0] == status, path
        assert "Redis does not respond" in (await kafidx.get("/"))[1]
        assert "Reload this page" in (await kafidx.get("/consumers/event_counter/page"))[1]
        status, health = await kafidx.readiness()
        assert status == 200, "its pages show what is away, so it must stay reachable"
        assert {name: check["ok"] for name, check in health["checks"].items()} == {"redis": False, "kafka": False}
        async with kafidx.socket("from=end") as socket:
            assert (await socket.frame())["reason"] == "Kafka does not respond"
            assert await socket.closed() == 1013


async def test_subscriber_gets_away_during_an_outage_of_kafka_and_every_row_after_it(
    kafidx: Kafidx, producer: EventProducer, broker: Frozen
) -> None:
    async with kafidx.socket("from=end") as socket:
        await socket.frame("hello")
        await produce(producer, [event(number) for number in range(20)])
        await socket.until(20)
        assert not (await socket.frame("stats"))["away"]
        broker.freeze()
        for _ in range(20):
            if (await socket.frame("stats"))["away"]:
                break
        else:
            pytest.fail("no stats frame had away=true")
        async with kafidx.socket("from=end") as late:
            assert (await late.frame())["reason"] == "Kafka does not respond"
        for _ in range(7):  # long enough for a new reader to fail as well
            assert (await socket.frame("stats"))["away"]
        broker.thaw()
        await produce(producer, [event(number) for number in range(20, 40)])
        rows = await socket.until(40)
        assert not (await socket.frame("stats"))["away"]
    assert sorted(numbers(rows)) == list(range(40))
    each_once_in_order(rows)


async def test_first_page_after_a_restart_of_redis_is_served(environ: dict[str, str], tmp_path: Path) -> None:
    redis = LocalRedis(data=tmp_path / "data", log=tmp_path / "redis.log")
    redis.start()
    try:
        redis.wait_ready()
        async with serving(environ | {"COUNTERS_REDIS_URL": redis.url}) as kafidx:
            assert (await kafidx.get("/consumers"))[0] == 200
            redis.process.stop()
            redis.start()
            redis.wait_ready()
            assert (await kafidx.get("/consumers"))[0] == 200
    finally:
        redis.process.stop()
