from hypothesis import given
from hypothesis import strategies as st

from services.kafidx.core.positions import Start, last_offsets, start_offsets

BEGINNINGS, ENDS = {0: 10, 1: 0, 2: 5}, {0: 100, 1: 50, 2: 5}


def test_start_offsets_are_inside_the_offsets_of_the_topic() -> None:
    assert start_offsets(Start("end"), BEGINNINGS, ENDS, {}) == ENDS
    assert start_offsets(Start("beginning"), BEGINNINGS, ENDS, {}) == BEGINNINGS
    assert start_offsets(Start("offset", offsets={0: 3, 1: 999, 7: 1}), BEGINNINGS, ENDS, {}) == {0: 10, 1: 50, 2: 5}
    assert start_offsets(Start("offset", offsets={0: 42}), BEGINNINGS, ENDS, {}) == {0: 42, 1: 50, 2: 5}
    assert start_offsets(Start("time", 1), BEGINNINGS, ENDS, {0: 20}) == {0: 20, 1: 50, 2: 5}
    assert start_offsets(Start("last", 10), BEGINNINGS, ENDS, {}) == {0: 95, 1: 45, 2: 5}


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=8), st.integers(0, 5000))
def test_last_offsets_select_exactly_n_events_or_all(partitions: list[tuple[int, int]], count: int) -> None:
    beginnings = {number: begin for number, (begin, _) in enumerate(partitions)}
    ends = {number: begin + length for number, (begin, length) in enumerate(partitions)}
    starts = last_offsets(count, beginnings, ends)
    assert all(beginnings[number] <= starts[number] <= ends[number] for number in beginnings)
    assert sum(ends[n] - starts[n] for n in beginnings) == min(count, sum(length for _, length in partitions))
