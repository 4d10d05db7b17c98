"""The last records of a topic. Transaction markers and aborted records also take offsets, so the offsets are read."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar

from services.backbone.kafka import OffsetGone, TopicReader
from services.backbone.settings import KafkaSettings
from services.kafidx.core.positions import last_offsets, last_records

_POLL_S: Final = 0.1
"""A poll that finds only transaction markers takes this time."""
_LIMIT_S: Final = 5.0

_Kept = TypeVar("_Kept")


class LastRecords(NamedTuple, Generic[_Kept]):
    """The last records of a topic."""

    starts: dict[int, int]
    """The offset of the first of them, by partition. It is the end in a partition without one of them."""
    records: list[_Kept]
    has_older: bool
    """Whether the topic can hold records before these."""


async def last_starts(
    settings: KafkaSettings, topic: str, count: int, beginnings: Mapping[int, int], ends: Mapping[int, int]
) -> dict[int, int]:
    """Return the offsets of the first of the last `count` records. Raises KafkaUnavailable.

    If reading them takes more than 5 s, return the last `count` offsets, which can hold fewer records.
    """
    try:
        async with asyncio.timeout(_LIMIT_S), TopicReader(settings, topic) as reader:
            return (await read_last(reader, count, beginnings, ends, keep=_offset)).starts
    except (TimeoutError, OffsetGone):
        return last_offsets(count, beginnings, ends)


async def read_last(
    reader: TopicReader,
    count: int,
    beginnings: Mapping[int, int],
    ends: Mapping[int, int],
    *,
    keep: Callable[[int, Any], _Kept],
) -> LastRecords[_Kept]:
    """Read the last `count` records before `ends`, an equal share of each partition. Return what `keep` makes of them.

    It reads the last `count` offsets. While they hold too few records, it doubles the number of offsets. Raises
    KafkaUnavailable, OffsetGone.
    """
    found: dict[int, list[tuple[int, _Kept]]] = {partition: [] for partition in ends}
    begins, window = dict(ends), count
    while True:
        upto, begins = begins, last_offsets(window, beginnings, begins)
        for partition, earlier in (await _read(reader, begins, upto, keep)).items():
            found[partition][:0] = earlier
        has_older = any(at > beginnings[partition] for partition, at in begins.items())
        if sum(map(len, found.values())) >= count or not has_older:
            break
        window = sum(ends[partition] - at for partition, at in begins.items())
    starts = last_records(count, {p: [offset for offset, _ in records] for p, records in found.items()}, ends)
    kept = [record for p, records in found.items() for offset, record in records if offset >= starts[p]]
    return LastRecords(starts, kept, has_older or len(kept) < sum(map(len, found.values())))


async def _read(
    reader: TopicReader, begins: Mapping[int, int], ends: Mapping[int, int], keep: Callable[[int, Any], _Kept]
) -> dict[int, list[tuple[int, _Kept]]]:
    found: dict[int, list[tuple[int, _Kept]]] = {partition: [] for partition in ends}
    reader.seek(begins)
    while any(at < ends[partition] for partition, at in reader.positions().items()):
        for partition, batch in (await reader.poll(wait_s=_POLL_S)).items():
            found[partition] += [(r.offset, keep(partition, r)) for r in batch.records if r.offset < ends[partition]]
    return found


def _offset(_partition: int, record: Any) -> int:
    return int(record.offset)
