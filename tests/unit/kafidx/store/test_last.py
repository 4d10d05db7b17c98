"""The last records of a topic in which some offsets have no record."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from services.backbone.kafka import RecordBatch, TopicReader
from services.kafidx.store.last import LastRecords, read_last

POLLED = 5


class Reader:
    """Reads partitions in which each offset has a record (True) or none (False)."""

    def __init__(self, partitions: Mapping[int, list[bool]]) -> None:
        self._partitions = partitions
        self._next: dict[int, int] = {}
        self.read = 0

    def seek(self, offsets: Mapping[int, int]) -> None:
        self._next.update(offsets)

    def positions(self) -> dict[int, int]:
        return dict(self._next)

    async def poll(self, *, wait_s: float) -> dict[int, RecordBatch]:
        del wait_s
        batches: dict[int, RecordBatch] = {}
        for partition, first in self._next.items():
            self._next[partition] = min(first + POLLED, len(self._partitions[partition]))
            self.read += self._next[partition] - first
            found: Any = [
                SimpleNamespace(offset=offset)
                for offset in range(first, self._next[partition])
                if self._partitions[partition][offset]
            ]
            if found:
                batches[partition] = RecordBatch(first, self._next[partition], found)
        return batches


async def last(reader: Reader, count: int, partitions: Mapping[int, list[bool]]) -> LastRecords[tuple[int, int]]:
    ends = {partition: len(offsets) for partition, offsets in partitions.items()}

    def keep(partition: int, record: Any) -> tuple[int, int]:
        return partition, record.offset

    return await read_last(cast("TopicReader", reader), count, dict.fromkeys(ends, 0), ends, keep=keep)


@given(st.lists(st.lists(st.booleans(), max_size=60), min_size=1, max_size=4), st.integers(0, 80))
async def test_last_records_are_the_newest_of_each_partition(offsets: list[list[bool]], count: int) -> None:
    partitions = dict(enumerate(offsets))
    found = await last(Reader(partitions), count, partitions)
    held = {p: [offset for offset, is_record in enumerate(each) if is_record] for p, each in partitions.items()}
    assert len(found.records) == min(count, sum(map(len, held.values())))
    assert len(set(found.records)) == len(found.records)
    for partition, start in found.starts.items():
        newest = [offset for p, offset in found.records if p == partition]
        assert newest == held[partition][len(held[partition]) - len(newest) :]
        assert newest == [offset for offset in held[partition] if offset >= start]
    if not found.has_older:
        assert len(found.records) == sum(map(len, held.values()))


async def test_topic_without_gaps_is_read_once() -> None:
    partitions = {0: [True] * 1000, 1: [True] * 1000}
    reader = Reader(partitions)
    found = await last(reader, 40, partitions)
    assert (found.starts, found.has_older) == ({0: 980, 1: 980}, True)
    assert reader.read == 40


async def test_topic_without_records_is_read_to_its_beginning() -> None:
    found = await last(Reader({0: [False] * 300}), 2, {0: [False] * 300})
    assert (found.starts, found.records, found.has_older) == ({0: 300}, [], False)
