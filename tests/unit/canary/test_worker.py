import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import structlog
from prometheus_client import CollectorRegistry
from redis.exceptions import ConnectionError as RedisConnectionError

from services.backbone.kafka import KafkaUnavailable
from services.canary.lookups import CounterPositions, NoResponse, TopicWatch, TrackerDoor
from services.canary.lookups.topic import Found
from services.canary.metrics import Metrics
from services.canary.settings import Settings
from services.canary.worker import Canary

SETTINGS = Settings.from_env({"CANARY_INTERVAL_S": "0.1", "CANARY_LATE_S": "0.5"})


class World:
    """A tracker, a topic and a counter that do as a test says; what is sent is in the topic at once."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.sent: list[str] = []
        self.response: Callable[[], Any] = lambda: None
        self.kafka_is_away = False
        self.redis_is_away = False
        self.open_requests = self.most_open_requests = 0

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0

    def seen(self, stage: str) -> float:
        return self.value("push_canary_events_seen_total", stage=stage)

    def late(self, stage: str) -> float:
        return self.value("push_canary_events_late_total", stage=stage)

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[list[Any]]:
        """Let a canary fly while the block runs; yields what it logs."""
        canary = Canary(SETTINGS, Door(self), Topic(self), Positions(self), Metrics(self.registry))
        with structlog.testing.capture_logs() as logs:
            flying = asyncio.create_task(canary.fly())
            try:
                yield logs
                assert not flying.done()
            finally:
                flying.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await flying


class Door(TrackerDoor):
    def __init__(self, world: World) -> None:
        self._world = world

    async def send(self, canary: str, device: str) -> None:  # noqa: ARG002 - the door's signature
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

    async def follow(self, is_wanted: Callable[[str], bool], report: Callable[[Found], None]) -> None:
        offset = 0
        while True:
            await asyncio.sleep(0.01)
            if self._world.kafka_is_away:
                raise KafkaUnavailable("away")
            for canary in self._world.sent[offset:]:
                if is_wanted(canary):
                    report(Found(canary, 0, offset))
                offset += 1


class Positions(CounterPositions):
    def __init__(self, world: World) -> None:
        self._world = world

    async def get(self) -> Mapping[int, int]:
        if self._world.redis_is_away:
            raise RedisConnectionError("away")
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


async def test_canaries_are_seen_at_every_stage_and_nothing_is_said(world: World) -> None:
    async with world.watched() as logs:
        await eventually(lambda: all(world.seen(stage) >= 5 for stage in ("answered", "topic", "counted")))
    assert len(world.sent) == len(set(world.sent))
    assert [line for line in logs if line["log_level"] != "debug"] == []


async def test_a_tracker_that_hangs_is_asked_once_at_a_time_and_nothing_piles_up(world: World) -> None:
    world.response = asyncio.Event().wait
    async with world.watched():
        await eventually(lambda: world.late("answered") >= 3)
        assert world.value("push_canary_in_flight_events") <= 0.5 / 0.1 + 2
    assert world.most_open_requests == 1


async def test_each_late_canary_is_one_warning_with_its_id_and_what_was_said(world: World) -> None:
    async def refuse() -> None:
        raise NoResponse("status 503")

    world.response = refuse
    async with world.watched() as logs:
        await eventually(lambda: world.late("answered") >= 3)
    said = [line for line in logs if line["event"] == "canary_late"]
    assert len(said) == world.late("answered") == len({line["id"] for line in said})
    for line in said:
        assert (line["log_level"], line["stage"], line["said"]) == ("warning", "answered", "status 503")
        assert line["id"] in world.sent
    assert world.seen("counted") >= 3, "its event was stored all the same, and is followed"


async def test_kafka_away_is_the_stage_topic_and_it_goes_on_when_kafka_is_back(world: World) -> None:
    world.kafka_is_away = True
    async with world.watched():
        await eventually(lambda: world.late("topic") >= 2)
        world.kafka_is_away = False
        await eventually(lambda: world.seen("counted") >= 2)
    assert world.late("answered") == world.late("counted") == 0


async def test_redis_away_is_the_stage_counted_and_it_goes_on_when_redis_is_back(world: World) -> None:
    world.redis_is_away = True
    async with world.watched():
        await eventually(lambda: world.late("counted") >= 2)
        world.redis_is_away = False
        await eventually(lambda: world.seen("counted") >= 2)
    assert world.late("answered") == world.late("topic") == 0
