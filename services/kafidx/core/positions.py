"""Start positions of a view: turn the `from` of a query into an offset for each partition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Start:
    """The parsed parameter `from`."""

    kind: Literal["end", "beginning", "last", "offset", "time"] = "end"
    number: int = 0
    """The number of events for `last`; ms since 1970 for `time`."""
    offsets: Mapping[int, int] = field(default_factory=dict)
    """The next offset by partition, for `offset`. A partition that is not listed starts at its end."""


def start_offsets(
    start: Start, beginnings: Mapping[int, int], ends: Mapping[int, int], at_time: Mapping[int, int]
) -> dict[int, int]:
    """Return the first offset to read of each partition. It is never outside the offsets that the topic holds."""
    match start.kind:
        case "beginning":
            return dict(beginnings)
        case "last":
            return last_offsets(start.number, beginnings, ends)
        case "offset":
            wanted: Mapping[int, int] = start.offsets
        case "time":
            wanted = at_time
        case _:
            wanted = {}
    return {p: max(beginnings[p], min(wanted.get(p, end), end)) for p, end in ends.items()}


def last_records(count: int, found: Mapping[int, Sequence[int]], ends: Mapping[int, int]) -> dict[int, int]:
    """Return the first offsets of the last `count` records, shared as in `last_offsets`.

    `found` holds the offsets of records in ascending order. The offsets between them have no record.
    """
    lengths = {partition: len(offsets) for partition, offsets in found.items()}
    firsts = last_offsets(count, dict.fromkeys(lengths, 0), lengths)
    return {p: found[p][first] if first < lengths[p] else ends[p] for p, first in firsts.items()}


def last_offsets(count: int, beginnings: Mapping[int, int], ends: Mapping[int, int]) -> dict[int, int]:
    """Return offsets that are `count` offsets before the ends, an equal share from each partition that has enough."""
    starts, missing = dict(ends), count
    # Shortest partition first: the longer partitions share the events that the shorter ones do not have.
    lengths = sorted((max(0, ends[p] - beginnings[p]), p) for p in ends)
    for index, (length, partition) in enumerate(lengths):
        share = min(length, -(-missing // (len(lengths) - index)))
        starts[partition] -= share
        missing -= share
    return starts
