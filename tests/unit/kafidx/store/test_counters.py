from typing import Any

from redis.asyncio import Redis

from services.backbone.counters import Description, Progress, parse_positions
from services.kafidx.store.counters import Consumer, Counters

STALE_S = 60.0
NAMED = Description("event_counter", "Events by type", "Event type")
NO_KAFKA: Any = None  # these tests pass the end offsets themselves


def a_store() -> Counters:
    return Counters(Redis(), NO_KAFKA, stale_s=STALE_S)


def state(
    counters: Counters, *, counted: int, now_s: float, ends: dict[int, int] | None, received_s: float = 0.0
) -> Consumer:
    progress = Progress(counted, int(received_s * 1000))
    return counters._state(NAMED, parse_positions({"0": str(counted)}), progress, ends, now_s * 1000)


def test_lag_is_the_number_of_events_that_are_not_counted() -> None:
    assert state(a_store(), counted=30, now_s=0, ends={0: 50, 1: 7}).lag == 27


def test_lag_is_zero_when_the_topic_ends_before_the_position() -> None:
    assert state(a_store(), counted=30, now_s=0, ends={0: 20}).lag == 0


def test_lag_is_unknown_while_a_position_of_the_topic_is_invalid() -> None:
    for positions, lag in (({"0": "x", "1": "5"}, None), ({"0": "3", "1": "5", "note": "x"}, 12)):
        assert a_store()._state(NAMED, parse_positions(positions), Progress(), {0: 10, 1: 10}, 0).lag == lag


def test_lag_is_unknown_and_consumer_not_stale_while_kafka_does_not_respond() -> None:
    card = state(a_store(), counted=30, now_s=10_000, ends=None)
    assert (card.lag, card.stale) == (None, False)


def test_consumer_with_lag_and_without_progress_is_stale() -> None:
    counters = a_store()
    assert not state(counters, counted=30, now_s=100, ends={0: 50}, received_s=90).stale
    assert not state(counters, counted=30, now_s=149, ends={0: 50}, received_s=90).stale
    assert state(counters, counted=30, now_s=151, ends={0: 50}, received_s=90).stale


def test_consumer_with_progress_is_not_stale_for_events_of_any_age() -> None:
    counters = a_store()
    cards = [state(counters, counted=10 + look, now_s=100 + 70 * look, ends={0: 50}, received_s=1) for look in range(4)]
    assert [card.stale for card in cards] == [True, False, False, False]


def test_consumer_without_lag_is_not_stale() -> None:
    counters = a_store()
    assert not state(counters, counted=50, now_s=10_000, ends={0: 50}, received_s=1).stale
