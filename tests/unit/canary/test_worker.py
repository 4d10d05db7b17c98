import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry
from redis.exceptions import ConnectionError as RedisConnectionError

from services.backbone.kafka import KafkaUnavailable
from services.canary.lookups import CanaryClient, CounterPositions, NotAccepted, TopicWatch
from services.canary.lookups.topic import FoundRecord
from services.canary.metrics import Metrics
from services.canary.settings import Settings
from services.canary.worker import Canary

SETTINGS = Settings.from_env({"CANARY_INTERVAL_S": "0.1", "CANARY_LATE_S": "0.5"})


class World:
    """A tracker, a topic and a counter that a test controls. An event is in the topic as soon as it is sent."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.sent: list[str] = []
        self.response: Callable[[], Any] = lambda: None
        self.kafka_is_down = False
        self.redis_is_down = False
        self.open_requests = self.most_open_requests = 0

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0

    def seen(self, stage: str) -> float:
        return self.value("push_canary_events_seen_total", stage=stage)

    def late(self, stage: str) -> float:
        return self.value("push_canary_events_late_total", stage=stage)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[list[Any]]:
        """Run a canary during the block. Yields its log lines."""
        canary = Canary(SETTINGS, Client(self), Topic(self), Positions(self), Metrics(self.registry))
        with structlog.testing.capture_logs() as logs:
            loops = asyncio.create_task(canary.run_loops())
            try:
                yield logs
                assert not loops.done()
            finally:
                loops.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await loops


class Client(CanaryClient):
    def __init__(self, world: World) -> None:
        self._world = world

    async def send(self, canary: str, device: str) -> None:  # noqa: ARG002 - the client's signature
        world = self._world
        world.sent.append(canary)
        world.open_requests += 1
        world.most_open_requests = max(world.most_open_requests, world.open_requests)
        try:
            response = world.response()
            if response is not None:
                await response
        finally:
            world.open_requests -= 1


class Topic(TopicWatch):
    def __init__(self, world: World) -> None:
        self._world = world
        self.stopping = False

    async def follow(self, is_wanted: Callable[[str], bool], report: Callable[[FoundRecord], None]) -> None:
        offset = 0
        while True:
            await asyncio.sleep(0.01)
            if self._world.kafka_is_down:
                raise KafkaUnavailable("down")
            for canary in self._world.sent[offset:]:
                if is_wanted(canary):
                    report(FoundRecord(canary, 0, offset))
                offset += 1


class Positions(CounterPositions):
    def __init__(self, world: World) -> None:
        self._world = world

    async def get(self) -> Mapping[int, int]:
        if self._world.redis_is_down:
            raise RedisConnectionError("down")
        return {0: len(self._world.sent)}


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while True:
            if condition():
                return
            await asyncio.sleep(0.02)


@pytest.fixture
def world() -> World:
    return World()


async def test_canaries_reach_every_stage_and_log_nothing(world: World) -> None:
    async with world.running() as logs:
        await eventually(lambda: all(world.seen(stage) >= 5 for stage in ("answered", "topic", "counted")))
    assert len(world.sent) == len(set(world.sent))
    assert [line for line in logs if line["log_level"] != "debug"] == []


async def test_hanging_tracker_has_one_open_request_and_few_canaries_in_flight(world: World) -> None:
    world.response = asyncio.Event().wait
    async with world.running():
        await eventually(lambda: world.late("answered") >= 3)
        assert world.value("push_canary_in_flight_events") <= 0.5 / 0.1 + 2
    assert world.most_open_requests == 1


async def test_late_canary_logs_one_warning_with_its_id_and_the_error(world: World) -> None:
    async def refuse() -> None:
        raise NotAccepted("status 503")

    world.response = refuse
    async with world.running() as logs:
        await eventually(lambda: world.late("answered") >= 3)
    warnings = [line for line in logs if line["event"] == "canary_late"]
    assert len(warnings) == world.late("answered") == len({line["id"] for line in warnings})
    for line in warnings:
        assert (line["log_level"], line["stage"], line["detail"]) == ("warning", "answered", "status 503")
        assert line["id"] in world.sent
    assert world.seen("counted") >= 3, "the event was stored nevertheless, and the canary stays in flight"


async def test_canary_is_late_at_topic_while_kafka_is_down_and_continues_afterwards(world: World) -> None:
    world.kafka_is_down = True
    async with world.running():
        await eventually(lambda: world.late("topic") >= 2)
        world.kafka_is_down = False
        await eventually(lambda: world.seen("counted") >= 2)
    assert world.late("answered") == world.late("counted") == 0


async def test_canary_is_late_at_counted_while_redis_is_down_and_continues_afterwards(world: World) -> None:
    world.redis_is_down = True
    async with world.running():
        await eventually(lambda: world.late("counted") >= 2)
        world.redis_is_down = False
        await eventually(lambda: world.seen("counted") >= 2)
    assert world.late("answered") == world.late("topic") == 0
