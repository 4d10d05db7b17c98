import pytest

from deploy.errors import OperatorError
from deploy.operate.offset_moves import (
    OffsetMove,
    PartitionPosition,
    older_records,
    parse_partition,
    parse_target,
    plan_moves,
    still_due,
)

NOW_MS = 1_764_153_000_000  # 2025-11-26T10:30:00Z


def test_target_is_a_word_a_time_or_an_age() -> None:
    assert parse_target("earliest", now_ms=NOW_MS) == "earliest"
    assert parse_target("latest", now_ms=NOW_MS) == "latest"
    assert parse_target("2h", now_ms=NOW_MS) == NOW_MS - 7_200_000
    assert parse_target("2025-11-26T10:00:00Z", now_ms=NOW_MS) == NOW_MS - 1_800_000
    assert parse_target("2025-11-26T11:00:00+01:00", now_ms=NOW_MS) == NOW_MS - 1_800_000


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "--to is missing. Use earliest, latest"),
        ("yesterday", '--to: invalid time "yesterday". Use RFC 3339'),
        ("2025-11-26T10:00:00", "--to: invalid time"),
        ("2026-11-26T10:00:00Z", "is in the future. Use latest"),
    ],
)
def test_wrong_target_is_reported(text: str, error: str) -> None:
    with pytest.raises(OperatorError, match=error):
        parse_target(text, now_ms=NOW_MS)


def test_partition_is_one_of_the_topic() -> None:
    assert parse_partition("", [0, 1]) is None
    assert parse_partition("1", [0, 1]) == 1
    for wrong in ("2", "-1", "one", "²"):
        with pytest.raises(OperatorError, match=f'no partition "{wrong}". Use one of 0, 1, or none for all'):
            parse_partition(wrong, [1, 0])


def test_group_without_a_position_begins_at_the_first_record() -> None:
    place = PartitionPosition(0, begin=20, end=50, position=None)
    assert (place.current, place.lag) == (20, 30)


@pytest.mark.parametrize(("position", "current"), [(5, 20), (30, 30), (90, 50)])
def test_position_outside_the_topic_is_that_of_the_nearest_record(position: int, current: int) -> None:
    assert PartitionPosition(0, begin=20, end=50, position=position).current == current


def test_plan_repeats_and_skips_and_leaves_out_what_is_there() -> None:
    places = [PartitionPosition(part, 0, 100, position) for part, position in ((0, 70), (1, 40), (2, 10))]
    back, forward = plan_moves(places, {0: 40, 1: 40, 2: 40})
    assert (back.repeated, back.skipped, back.edges) == (30, 0, (40, 69))
    assert (forward.repeated, forward.skipped, forward.edges) == (0, 30, (10, 39))


def test_skip_that_the_group_has_passed_is_not_moved_back() -> None:
    back, forward = OffsetMove(0, 70, 40), OffsetMove(1, 10, 40)
    assert still_due([back, forward], {0: 80, 1: 39}) == [back, forward]
    assert still_due([back, forward], {0: 80, 1: 40}) == [back]


def test_older_records_are_those_before_the_offsets() -> None:
    moves = [OffsetMove(0, 70, 40), OffsetMove(1, 70, 40), OffsetMove(2, 70, 40), OffsetMove(3, 10, 40)]
    assert older_records(moves, {0: 60, 1: 90, 2: 20, 3: 50}) == 20 + 30
