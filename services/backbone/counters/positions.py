"""Parse the hash of positions in Redis, to which other programs can write as well. Pure."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from services.backbone import names

MAX_POSITION: Final = 2**53
"""Positions are below this number: Lua adds them as doubles, which are exact up to here."""


class Positions(NamedTuple):
    """The positions of a counter by partition. A partition without a stored position is in neither field."""

    offsets: dict[int, int]
    invalid: dict[str, str]
    """Fields of the hash without a valid position, with their values. Another program wrote them."""


def parse_positions(stored: Mapping[str, str]) -> Positions:
    """Parse the hash of positions. Partition and offset are whole numbers without leading zeros."""
    offsets: dict[int, int] = {}
    invalid: dict[str, str] = {}
    for partition, offset in stored.items():
        if _is_whole(partition) and _is_whole(offset) and int(offset) < MAX_POSITION:
            offsets[int(partition)] = int(offset)
        else:
            invalid[partition] = offset
    return Positions(offsets, invalid)


def position_error(counter: str, partition: str, value: str) -> str:
    """Return an error message about an invalid position: partition, value, allowed values, repair."""
    key = names.positions_key(counter)
    return (
        f'{key}: partition {partition} has the invalid position "{value[:40]}". Set a whole number below 2**53 (HSET), '
        f"or delete the field (HDEL) to count the partition from its first offset."
    )


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(MAX_POSITION)) and text == str(int(text))
