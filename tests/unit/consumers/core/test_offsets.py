import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.consumers.core.offsets import LowWaterMark

BATCH = st.lists(st.booleans(), max_size=30)


@given(first=st.integers(0, 2**40), batches=st.lists(BATCH, max_size=8), data=st.data())
def test_mark_is_the_lowest_offset_that_is_not_finished(
    first: int, batches: list[list[bool]], data: st.DataObject
) -> None:
    mark = LowWaterMark(first)
    unfinished: set[int] = set()
    position = first
    for batch in batches:
        needed = [position + index for index, needs_action in enumerate(batch) if needs_action]
        position += len(batch)
        mark.take(position, needed)
        unfinished |= set(needed)
        for offset in data.draw(st.lists(st.sampled_from(sorted(unfinished) or [first]), max_size=20)):
            mark.finish(offset)
            unfinished.discard(offset)
        assert mark.mark == min(unfinished, default=position)
        assert mark.unfinished == len(unfinished)


def test_mark_never_moves_back() -> None:
    mark = LowWaterMark(5)
    mark.take(9, [6, 8])
    seen = [mark.mark]
    for offset in (8, 6, 6, 99):
        mark.finish(offset)
        seen.append(mark.mark)
    assert seen == [6, 6, 9, 9, 9]


@pytest.mark.parametrize("unfinished", [[4], [9], [7, 6]])
def test_offset_outside_the_taken_records_is_rejected(unfinished: list[int]) -> None:
    with pytest.raises(ValueError, match="is not between"):
        LowWaterMark(5).take(9, unfinished)
