from services.kafidx.core.events import LiveEvent
from services.kafidx.core.recent import Recent, in_order


def event(partition: int, offset: int, time_ms: int = 0, size: int = 0) -> LiveEvent:
    return LiveEvent("events", partition, offset, time_ms, b"x" * size)


def places(events: list[LiveEvent] | None) -> list[tuple[int, int]] | None:
    return None if events is None else [(each.partition, each.offset) for each in events]


def test_what_is_asked_for_is_there_whole_or_not_at_all() -> None:
    recent = Recent(max_bytes=4 * 600)
    recent.restart({0: 5, 1: 0})
    assert places(recent.since({0: 5, 1: 0})) == []
    assert recent.since({0: 4, 1: 0}) is None
    recent.add([event(0, 5), event(1, 0), event(0, 6), event(1, 1)])
    assert places(recent.since({0: 6, 1: 0})) == [(1, 0), (0, 6), (1, 1)]
    recent.add([event(1, 2)])
    assert recent.since({0: 5, 1: 0}) is None
    assert places(recent.since({0: 6, 1: 2})) == [(0, 6), (1, 2)]
    assert places(recent.since({0: 99, 1: 99})) == []


def test_large_events_push_out_more() -> None:
    recent = Recent(max_bytes=10_000)
    recent.restart({0: 0})
    recent.add([event(0, offset) for offset in range(5)])
    recent.add([event(0, 5, size=20_000)])
    assert recent.since({0: 5}) is None
    assert places(recent.since({0: 6})) == []


def test_partitions_are_merged_by_time_and_never_reordered_within() -> None:
    late_clock = [event(0, 0, 30), event(0, 1, 10), event(0, 2, 40)]
    merged = in_order([late_clock, [event(1, 0, 5), event(1, 1, 35)]])
    assert places(merged) == [(1, 0), (0, 0), (0, 1), (1, 1), (0, 2)]
    assert places(in_order([late_clock])) == [(0, 0), (0, 1), (0, 2)]
    assert in_order([]) == []
