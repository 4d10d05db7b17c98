import asyncio
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, Self

import pytest
from prometheus_client import CollectorRegistry

from services.backbone import names
from services.backbone.kafka import KafkaUnavailable, RecordBatch, Topic
from services.kafidx.core.events import NULL_VALUE
from services.kafidx.core.filters import Filter
from services.kafidx.core.live import OpenViews, TooManyViews
from services.kafidx.core.positions import Start
from services.kafidx.metrics import Metrics
from services.kafidx.settings import Settings
from services.kafidx.store import live_topic as topic_module
from services.kafidx.store.live_topic import LiveTopic, _events
from services.kafidx.store.subscriber import Subscriber


def record(offset: int, time_ms: int = 0, headers: tuple[tuple[str, bytes], ...] = ()) -> Any:
    return SimpleNamespace(offset=offset, timestamp=time_ms, value=b"view id=1 -", headers=headers)


def batch(first: int, count: int) -> dict[int, RecordBatch]:
    return {0: RecordBatch(first, first + count, [record(offset) for offset in range(first, first + count)])}


class Broker:
    """The script of all readers: results of opening and of polls, in order. After the last one polls return nothing.

    A number is a poll that returns nothing and moves the position, as at a transaction marker.
    """

    def __init__(self) -> None:
        self.opening: list[KafkaUnavailable | None] = []
        self.polls: list[dict[int, RecordBatch] | Exception | int] = []
        self.sought: list[Mapping[int, int]] = []
        self.open = 0


class Reader:
    """A reader that follows the script of its broker."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._next: dict[int, int] = {}

    async def __aenter__(self) -> Self:
        if self._broker.opening and (error := self._broker.opening.pop(0)) is not None:
            raise error
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
        self._next.update(offsets)

    def positions(self) -> dict[int, int]:
        return dict(self._next)

    async def poll(self, *, wait_s: float) -> dict[int, RecordBatch]:
        if not self._broker.polls:
            await asyncio.sleep(min(wait_s, 0.01))
            return {}
        result = self._broker.polls.pop(0)
        if isinstance(result, Exception):
            raise result
        if isinstance(result, int):
            self._next[0] = result
            return {}
        self._next.update({partition: found.next_offset for partition, found in result.items()})
        return result


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr(topic_module, "TopicReader", lambda *_, **__: Reader(broker))
    monkeypatch.setattr(topic_module, "_LONGEST_PAUSE_S", 0.05)
    return broker


@pytest.fixture
def topic(broker: Broker) -> LiveTopic:  # noqa: ARG001 - replaces the real one
    return LiveTopic(Settings.from_env({}), Metrics(CollectorRegistry()), "events", OpenViews(limit=1))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - the condition has no event to wait for
            await asyncio.sleep(0.005)


async def subscribe(topic: LiveTopic) -> Subscriber:
    return await topic.subscribe(Filter(), Start())


async def test_new_reader_continues_at_the_offsets_of_a_failed_one(topic: LiveTopic, broker: Broker) -> None:
    gone = KafkaUnavailable("gone")
    broker.polls = [batch(0, 5), gone]
    broker.opening = [None, gone, gone, None]
    subscriber = await subscribe(topic)
    await until(lambda: subscriber.kafka_away)
    broker.polls = [batch(5, 3)]
    await until(lambda: subscriber.seen == 8)
    assert not subscriber.kafka_away
    assert broker.sought == [{0: 0}, {0: 5}]
    assert broker.open == 1
    await topic.leave(subscriber)
    await topic.aclose()
    assert broker.open == 0


async def test_live_end_moves_past_offsets_without_a_record(topic: LiveTopic, broker: Broker) -> None:
    broker.polls = [batch(0, 5), 7]
    subscriber = await subscribe(topic)
    await until(lambda: subscriber.next == {0: 7})
    assert (subscriber.seen, topic._next) == (5, {0: 7})
    await topic.leave(subscriber)
    await topic.aclose()


async def test_new_subscriber_is_refused_while_kafka_does_not_respond(topic: LiveTopic, broker: Broker) -> None:
    broker.polls = [KafkaUnavailable("gone")]
    broker.opening = [None, *[KafkaUnavailable("gone")] * 1000]
    subscriber = await subscribe(topic)
    await until(lambda: subscriber.kafka_away)
    await topic.leave(subscriber)
    with pytest.raises(KafkaUnavailable):
        await subscribe(topic)
    await topic.aclose()
    assert broker.open == 0


async def test_subscriber_cannot_join_a_live_end_whose_reader_has_stopped(topic: LiveTopic) -> None:
    subscriber = await subscribe(topic)
    assert topic._join(subscriber)
    assert topic._reading is not None
    topic._reading.cancel()
    await until(topic._reading.done)
    assert not topic._join(subscriber)
    await topic.aclose()


async def test_unexpected_error_of_the_live_reader_ends_every_subscriber(topic: LiveTopic, broker: Broker) -> None:
    live = await subscribe(topic)
    other = Subscriber(Filter(), live.queue, topic._metrics)
    topic._subscribers.add(other)  # one that is still catching up, so it is not a live one
    broker.polls = [ValueError("unexpected")]
    async with asyncio.timeout(5):
        for subscriber in (live, other):
            assert [frame async for frame in subscriber.frames() if '"stats"' not in frame] == []
    topic._subscribers.discard(other)
    await topic.aclose()


async def test_failed_subscription_frees_its_slot(topic: LiveTopic, broker: Broker) -> None:
    broker.opening = [KafkaUnavailable("gone")]
    with pytest.raises(KafkaUnavailable):
        await subscribe(topic)
    subscriber = await subscribe(topic)
    with pytest.raises(TooManyViews):
        await subscribe(topic)
    await topic.leave(subscriber)
    await topic.leave(subscriber)
    await subscribe(topic)
    await topic.aclose()


def test_events_of_partitions_are_merged_by_time_and_keep_their_order() -> None:
    batches = {
        0: RecordBatch(0, 3, [record(0, 10), record(1, 30), record(2, 20)]),
        1: RecordBatch(0, 2, [record(0, 5), record(1, 25)]),
    }
    order = [(event.partition, event.offset) for event in _events("events", batches)]
    assert order == [(1, 0), (0, 0), (1, 1), (0, 1), (0, 2)]


def test_null_value_is_the_error_of_a_record() -> None:
    tombstone = record(0, headers=((names.HEADER_DEAD_STAGE, b"decode"),))
    tombstone.value = None
    batches = {0: RecordBatch(0, 1, [tombstone])}
    (dead,), (alive,) = _events(names.DEAD_LETTER_TOPIC, batches), _events(names.EVENTS_TOPIC, batches)
    assert (dead.bad, alive.bad) == (f"decode, {NULL_VALUE}", NULL_VALUE)


def test_dead_letter_has_its_stage_and_reason_as_error() -> None:
    headers = ((names.HEADER_DEAD_REASON, b"no type"), (names.HEADER_DEAD_STAGE, b"decode"))
    batches = {0: RecordBatch(0, 1, [record(0, headers=headers)])}
    (dead,), (alive,) = _events(names.DEAD_LETTER_TOPIC, batches), _events(names.EVENTS_TOPIC, batches)
    assert (dead.bad, dead.type) == ("decode: no type", "view")
    assert alive.bad == ""
