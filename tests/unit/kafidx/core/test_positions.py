import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kafidx.core.errors import BadQuery
from services.kafidx.core.positions import Start, begin_of, last, parse_start


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("end", Start("end")),
        ("beginning", Start("beginning")),
        ("last:20", Start("last", 20)),
        ("offset:0:12,3:4", Start("offset", offsets={0: 12, 3: 4})),
        ("time:1764000000000", Start("time", 1_764_000_000_000)),
        ("time:2025-11-24T16:00:00Z", Start("time", 1_764_000_000_000)),
        ("time:2025-11-24T17:00:00+01:00", Start("time", 1_764_000_000_000)),
        ("time:2025-11-24T16:00:00", Start("time", 1_764_000_000_000)),
    ],
)
def test_positions_are_read(text: str, start: Start) -> None:
    assert parse_start(text) == start


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        ("End", 0),
        ("end:", 3),
        ("end:1", 3),
        ("last", 5),
        ("last:-1", 5),
        ("last:1e3", 5),
        ("last:9999999", 5),
        ("offset", 7),
        ("offset:0", 8),
        ("offset:0:", 9),
        ("offset:0:1,", 11),
        ("offset:x:1", 7),
        ("time:", 5),
        ("offset:0:99999999999999999999", 9),
        ("time:12:00", 5),
        ("time:99999999999999999999", 5),
        ("last:٣", 5),
    ],
)
def test_a_bad_position_is_refused_with_its_place(text: str, position: int) -> None:
    with pytest.raises(BadQuery) as fault:
        parse_start(text)
    assert (fault.value.parameter, fault.value.position) == ("from", position)


BEGINS, ENDS = {0: 10, 1: 0, 2: 5}, {0: 100, 1: 50, 2: 5}


def test_offsets_are_kept_inside_what_the_topic_holds() -> None:
    assert begin_of(Start("end"), BEGINS, ENDS, {}) == ENDS
    assert begin_of(Start("beginning"), BEGINS, ENDS, {}) == BEGINS
    assert begin_of(Start("offset", offsets={0: 3, 1: 999, 7: 1}), BEGINS, ENDS, {}) == {0: 10, 1: 50, 2: 5}
    assert begin_of(Start("offset", offsets={0: 42}), BEGINS, ENDS, {}) == {0: 42, 1: 50, 2: 5}
    assert begin_of(Start("time", 1), BEGINS, ENDS, {0: 20}) == {0: 20, 1: 50, 2: 5}
    assert begin_of(Start("last", 10), BEGINS, ENDS, {}) == {0: 95, 1: 45, 2: 5}


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=8), st.integers(0, 5000))
def test_last_n_are_exactly_n_or_all(partitions: list[tuple[int, int]], count: int) -> None:
    begins = {number: begin for number, (begin, _) in enumerate(partitions)}
    ends = {number: begin + length for number, (begin, length) in enumerate(partitions)}
    starts = last(count, begins, ends)
    assert all(begins[number] <= starts[number] <= ends[number] for number in begins)
    assert sum(ends[n] - starts[n] for n in begins) == min(count, sum(length for _, length in partitions))
