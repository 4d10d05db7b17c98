import asyncio
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Self

import pytest
from prometheus_client import CollectorRegistry

from services.backbone import names
from services.backbone.kafka import Batch, KafkaUnavailable, Topic
from services.kafidx.core.filters import Filter
from services.kafidx.core.positions import Start
from services.kafidx.core.views import OpenViews, TooManyViews
from services.kafidx.metrics import Metrics
from services.kafidx.settings import Settings
from services.kafidx.store import topic as topic_module
from services.kafidx.store.subscriber import Subscriber
from services.kafidx.store.topic import EventTopic, _events


def record(offset: int, time_ms: int = 0, headers: tuple[tuple[str, bytes], ...] = ()) -> Any:
    return SimpleNamespace(offset=offset, timestamp=time_ms, value=b"view id=1 -", headers=headers)


def batch(first: int, count: int) -> dict[int, Batch]:
    return {0: Batch(first, first + count, [record(offset) for offset in range(first, first + count)])}


class Broker:
    """What readers of the topic are told, in turn: records, or that Kafka is away. Then silence."""

    def __init__(self) -> None:
        self.opening: list[KafkaUnavailable | None] = []
        self.polls: list[dict[int, Batch] | Exception] = []
        self.sought: list[Mapping[int, int]] = []
        self.open = 0


class Reader:
    """A reader whose broker is a script."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def __aenter__(self) -> Self:
        if self._broker.opening and (fault := self._broker.opening.pop(0)) is not None:
            raise fault
        self._broker.open += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._broker.open -= 1

    topic = Topic("one", 1)

    async def beginning_offsets(self) -> dict[int, int]:
        return {0: 0}

    async def end_offsets(self) -> dict[int, int]:
        return {0: 0}

    def ends_seen(self) -> dict[int, int]:
        return {}

    def seek(self, offsets: Mapping[int, int]) -> None:
        self._broker.sought.append(dict(offsets))

    async def poll(self, *, wait_s: float) -> dict[int, Batch]:
        if not self._broker.polls:
            await asyncio.sleep(min(wait_s, 0.01))
            return {}
        reported = self._broker.polls.pop(0)
        if isinstance(reported, Exception):
            raise reported
        return reported


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr(topic_module, "TopicReader", lambda *_, **__: Reader(broker))
    monkeypatch.setattr(topic_module, "_PAUSES_S", (0.05,))
    return broker


@pytest.fixture
def topic(broker: Broker) -> EventTopic:  # noqa: ARG001 - takes the place of the real one
    return EventTopic(Settings.from_env({}), Metrics(CollectorRegistry()), "events", OpenViews(limit=1))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


async def watch(topic: EventTopic) -> Subscriber:
    return await topic.watch(Filter(), Start())


async def test_a_reader_that_fails_is_followed_by_one_that_goes_on_where_it_stopped(
    topic: EventTopic, broker: Broker
) -> None:
    gone = KafkaUnavailable("gone")
    broker.polls = [batch(0, 5), gone]
    broker.opening = [None, gone, gone, None]
    subscriber = await watch(topic)
    await until(lambda: subscriber.kafka_away)
    broker.polls = [batch(5, 3)]
    await until(lambda: subscriber.seen == 8)
    assert not subscriber.kafka_away
    assert broker.sought == [{0: 0}, {0: 5}]
    assert broker.open == 1
    await topic.leave(subscriber)
    await topic.aclose()
    assert broker.open == 0


async def test_who_comes_while_kafka_is_away_is_told_so(topic: EventTopic, broker: Broker) -> None:
    broker.polls = [KafkaUnavailable("gone")]
    broker.opening = [None, *[KafkaUnavailable("gone")] * 1000]
    subscriber = await watch(topic)
    await until(lambda: subscriber.kafka_away)
    await topic.leave(subscriber)
    with pytest.raises(KafkaUnavailable):
        await watch(topic)
    await topic.aclose()
    assert broker.open == 0


async def test_nobody_joins_a_live_end_that_is_not_read_any_more(topic: EventTopic) -> None:
    subscriber = await watch(topic)
    assert topic._join(subscriber)
    assert topic._reading is not None
    topic._reading.cancel()
    await until(topic._reading.done)
    assert not topic._join(subscriber)
    await topic.aclose()


async def test_an_unexpected_end_of_the_live_reader_ends_every_view(topic: EventTopic, broker: Broker) -> None:
    live = await watch(topic)
    other = Subscriber(Filter(), live.queue, topic._metrics)
    topic._subscribers.add(other)  # one that is catching up: it is not among the live ones
    broker.polls = [ValueError("unexpected")]
    async with asyncio.timeout(5):
        for subscriber in (live, other):
            assert [frame async for frame in subscriber.frames() if '"stats"' not in frame] == []
    topic._subscribers.discard(other)
    await topic.aclose()


async def test_a_view_that_could_not_be_opened_takes_nobodys_place(topic: EventTopic, broker: Broker) -> None:
    broker.opening = [KafkaUnavailable("gone")]
    with pytest.raises(KafkaUnavailable):
        await watch(topic)
    subscriber = await watch(topic)
    with pytest.raises(TooManyViews):
        await watch(topic)
    await topic.leave(subscriber)
    await topic.leave(subscriber)
    await watch(topic)
    await topic.aclose()


def test_partitions_are_merged_by_time_and_keep_their_order() -> None:
    batches = {
        0: Batch(0, 3, [record(0, 10), record(1, 30), record(2, 20)]),
        1: Batch(0, 2, [record(0, 5), record(1, 25)]),
    }
    order = [(event.partition, event.offset) for event in _events("events", batches)]
    assert order == [(1, 0), (0, 0), (1, 1), (0, 1), (0, 2)]


def test_a_dead_letter_says_why_it_died() -> None:
    headers = ((names.HEADER_DEAD_REASON, b"no type"), (names.HEADER_DEAD_STAGE, b"decode"))
    batches = {0: Batch(0, 1, [record(0, headers=headers)])}
    (dead,), (alive,) = _events(names.DEAD_LETTER_TOPIC, batches), _events(names.EVENTS_TOPIC, batches)
    assert (dead.bad, dead.type) == ("decode: no type", "view")
    assert alive.bad == ""
