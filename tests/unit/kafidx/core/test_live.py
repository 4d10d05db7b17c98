import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kafidx.core.events import LiveEvent, QueuedRow
from services.kafidx.core.live import Activity, OpenViews, RecentEvents, RowQueue, Sessions, TooManyViews, in_order


def rows(first: int, count: int, size: int = 10) -> list[QueuedRow]:
    return [QueuedRow(number % 3, number, b"x" * size) for number in range(first, first + count)]


def test_full_queue_drops_and_counts_the_oldest_rows() -> None:
    queue = RowQueue(max_rows=5, max_bytes=1000)
    assert queue.put(rows(0, 8), 80) == 3
    assert (queue.matched, queue.sent, queue.dropped, queue.queued) == (8, 0, 3, 5)
    assert [row.offset for row in queue.take(max_rows=2, max_bytes=1000)] == [3, 4]
    assert queue.first_offsets() == {2: 5, 0: 6, 1: 7}


def test_queue_is_bounded_by_bytes_and_take_returns_at_least_one_row() -> None:
    queue = RowQueue(max_rows=100, max_bytes=100)
    queue.put(rows(0, 3, size=60), 180)
    assert (queue.queued, queue.dropped, queue.bytes) == (1, 2, 60)
    assert len(queue.take(max_rows=10, max_bytes=1)) == 1
    assert queue.bytes == 0


@given(st.lists(st.tuples(st.sampled_from(["put", "take"]), st.integers(0, 30), st.integers(1, 50))))
def test_matched_equals_sent_plus_dropped_plus_queued_after_every_step(steps: list[tuple[str, int, int]]) -> None:
    queue, number, out, put = RowQueue(max_rows=20, max_bytes=400), 0, list[int](), 0
    for step, count, size in steps:
        if step == "put":
            queue.put(rows(number, count, size), count * size)
            number += count
            put += count
        else:
            out += [row.offset for row in queue.take(max_rows=count, max_bytes=size * 10)]
        assert queue.matched == put == queue.sent + queue.dropped + queue.queued
        assert queue.queued <= 20
        assert queue.bytes <= 400
        assert queue.sent == len(out)
    assert out == sorted(set(out))


def event(partition: int, offset: int, time_ms: int = 0, size: int = 0) -> LiveEvent:
    return LiveEvent("events", partition, offset, time_ms, b"x" * size)


def offsets_of(events: list[LiveEvent] | None) -> list[tuple[int, int]] | None:
    return None if events is None else [(each.partition, each.offset) for each in events]


def test_recent_events_are_returned_without_a_gap_or_not_at_all() -> None:
    recent = RecentEvents(max_bytes=4 * 600)
    recent.restart({0: 5, 1: 0})
    assert offsets_of(recent.since({0: 5, 1: 0})) == []
    assert recent.since({0: 4, 1: 0}) is None
    recent.add([event(0, 5), event(1, 0), event(0, 6), event(1, 1)])
    assert offsets_of(recent.since({0: 6, 1: 0})) == [(1, 0), (0, 6), (1, 1)]
    recent.add([event(1, 2)])
    assert recent.since({0: 5, 1: 0}) is None
    assert offsets_of(recent.since({0: 6, 1: 2})) == [(0, 6), (1, 2)]
    assert offsets_of(recent.since({0: 99, 1: 99})) == []


def test_large_event_removes_several_older_ones() -> None:
    recent = RecentEvents(max_bytes=10_000)
    recent.restart({0: 0})
    recent.add([event(0, offset) for offset in range(5)])
    recent.add([event(0, 5, size=20_000)])
    assert recent.since({0: 5}) is None
    assert offsets_of(recent.since({0: 6})) == []


def test_in_order_merges_partitions_by_time_and_keeps_the_order_within_one() -> None:
    late_clock = [event(0, 0, 30), event(0, 1, 10), event(0, 2, 40)]
    merged = in_order([late_clock, [event(1, 0, 5), event(1, 1, 35)]])
    assert offsets_of(merged) == [(1, 0), (0, 0), (0, 1), (1, 1), (0, 2)]
    assert offsets_of(in_order([late_clock])) == [(0, 0), (0, 1), (0, 2)]
    assert in_order([]) == []


def test_activity_returns_types_of_the_last_ten_seconds_most_frequent_first() -> None:
    activity = Activity()
    activity.count(["old"] * 9, now_s=100.0)
    activity.count(["view"] * 3 + ["click"], now_s=105.5)
    activity.count(["click"] * 3, now_s=109.9)
    assert activity.top(now_s=109.9) == {"old": 9, "click": 4, "view": 3}
    assert list(activity.top(now_s=110.1)) == ["click", "view"]
    assert activity.top(now_s=130) == {}


def test_activity_returns_at_most_eight_types() -> None:
    activity = Activity()
    activity.count((f"type {number}" for number in range(100)), now_s=1)
    assert len(activity.top(now_s=1)) == 8


def test_least_recently_used_session_is_removed_above_the_limit() -> None:
    sessions = Sessions(limit=2)
    sessions.remember("a", "events", {0: 1})
    sessions.remember("b", "events", {0: 2})
    sessions.remember("a", "events", {0: 3})
    sessions.remember("c", "events", {0: 4})
    assert [sessions.recall(name, "events") for name in "abc"] == [{0: 3}, None, {0: 4}]
    sessions.discard("a", "events")
    sessions.discard("never", "events")
    assert sessions.recall("a", "events") is None


def test_session_has_separate_positions_for_each_topic() -> None:
    sessions = Sessions()
    sessions.remember("a", "events", {0: 1})
    assert sessions.recall("a", "events.dead") is None
    sessions.discard("a", "events.dead")
    assert sessions.recall("a", "events") == {0: 1}


def test_opening_a_view_above_the_limit_fails_until_one_is_closed() -> None:
    views = OpenViews(limit=2)
    views.enter()
    views.enter()
    with pytest.raises(TooManyViews):
        views.enter()
    views.leave()
    views.enter()
    assert views.count == 2
