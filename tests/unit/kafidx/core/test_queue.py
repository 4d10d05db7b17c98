from hypothesis import given
from hypothesis import strategies as st

from services.kafidx.core.queue import RowQueue, Waiting


def rows(first: int, count: int, size: int = 10) -> list[Waiting]:
    return [Waiting(number % 3, number, b"x" * size) for number in range(first, first + count)]


def test_the_oldest_go_first_and_are_counted() -> None:
    queue = RowQueue(max_rows=5, max_bytes=1000)
    assert queue.put(rows(0, 8), 80) == 3
    assert (queue.matched, queue.sent, queue.dropped, queue.queued) == (8, 0, 3, 5)
    assert [row.offset for row in queue.take(max_rows=2, max_bytes=1000)] == [3, 4]
    assert queue.first_offsets() == {2: 5, 0: 6, 1: 7}


def test_bytes_are_a_bound_too_but_one_row_always_goes_out() -> None:
    queue = RowQueue(max_rows=100, max_bytes=100)
    queue.put(rows(0, 3, size=60), 180)
    assert (queue.queued, queue.dropped, queue.bytes) == (1, 2, 60)
    assert len(queue.take(max_rows=10, max_bytes=1)) == 1
    assert queue.bytes == 0


@given(st.lists(st.tuples(st.sampled_from(["put", "take"]), st.integers(0, 30), st.integers(1, 50))))
def test_matched_is_sent_and_dropped_and_queued_at_every_instant(steps: list[tuple[str, int, int]]) -> None:
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
