"""Where a view begins: what the query says, and what that means in offsets."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal

from services.kafidx.core.errors import BadQuery

MAX_LAST: Final = 100_000
MAX_PARTITION: Final = 2**31 - 1
MAX_OFFSET: Final = 2**63 - 1
_MAX_TIME_MS: Final = 2**53
_PARAMETER: Final = "from"


@dataclass(frozen=True)
class Start:
    """What `from=` says."""

    kind: Literal["end", "beginning", "last", "offset", "time"] = "end"
    number: int = 0
    """Of `last`: events; of `time`: ms since 1970."""
    offsets: Mapping[int, int] = field(default_factory=dict)
    """Of `offset`: the next wanted one by partition; a partition that is not named begins at its end."""


def parse_start(text: str) -> Start:
    """Read `end`, `beginning`, `last:N`, `offset:P:O,...`, `time:<ms or ISO 8601>`. Raises BadQuery."""
    kind, _, rest = text.partition(":")
    place = len(kind) + 1
    match kind:
        case "end" | "beginning":
            if rest or text.endswith(":"):
                raise BadQuery(_PARAMETER, len(kind), f"nothing can follow {kind}", text)
            return Start(kind)
        case "last":
            return Start("last", _number(rest, place, text, highest=MAX_LAST))
        case "offset":
            return Start("offset", offsets=_offsets(rest, place, text))
        case "time":
            return Start("time", _time_ms(rest, place, text))
        case _:
            raise BadQuery(_PARAMETER, 0, "expected end, beginning, last:N, offset:P:O or time:T", text)


def parse_whole(parameter: str, text: str, *, highest: int) -> int:
    """Read a parameter that is one whole number. Raises BadQuery."""
    return _number(text, 0, text, highest=highest, parameter=parameter)


def begin_of(
    start: Start, begins: Mapping[int, int], ends: Mapping[int, int], at_time: Mapping[int, int]
) -> dict[int, int]:
    """Return the first wanted offset of each partition of the topic, inside what the topic holds."""
    match start.kind:
        case "beginning":
            return dict(begins)
        case "last":
            return last(start.number, begins, ends)
        case "offset":
            wanted: Mapping[int, int] = start.offsets
        case "time":
            wanted = at_time
        case _:
            wanted = {}
    return {p: max(begins[p], min(wanted.get(p, end), end)) for p, end in ends.items()}


def last(count: int, begins: Mapping[int, int], ends: Mapping[int, int]) -> dict[int, int]:
    """Place `count` events before the ends, from each partition the same share as far as it has them."""
    starts, wanted = dict(ends), count
    # The shortest partitions give all they have; the longer ones share what is left.
    lengths = sorted((max(0, ends[p] - begins[p]), p) for p in ends)
    for index, (length, partition) in enumerate(lengths):
        share = min(length, -(-wanted // (len(lengths) - index)))
        starts[partition] -= share
        wanted -= share
    return starts


def _offsets(text: str, place: int, whole: str) -> dict[int, int]:
    offsets: dict[int, int] = {}
    for pair in text.split(","):
        partition, colon, offset = pair.partition(":")
        if not colon:
            raise BadQuery(_PARAMETER, place + len(pair), "expected partition:offset", whole)
        number = _number(partition, place, whole, highest=MAX_PARTITION)
        offsets[number] = _number(offset, place + len(partition) + 1, whole, highest=MAX_OFFSET)
        place += len(pair) + 1
    return offsets


def _time_ms(text: str, place: int, whole: str) -> int:
    if re.fullmatch(r"[0-9]+", text, re.ASCII):
        return _number(text, place, whole, highest=_MAX_TIME_MS)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise BadQuery(
            _PARAMETER, place, "expected ms since 1970, or a time such as 2026-01-31T12:00:00Z", whole
        ) from None
    # A time without an offset is UTC, as all times here are.
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return max(0, int(aware.timestamp() * 1000))


def _number(text: str, place: int, whole: str, *, highest: int, parameter: str = _PARAMETER) -> int:
    if not re.fullmatch(r"[0-9]+", text, re.ASCII):
        raise BadQuery(parameter, place, f"expected a whole number, found {text!r}", whole)
    if len(text) > len(str(highest)) or int(text) > highest:
        raise BadQuery(parameter, place, f"more than {highest}", whole)
    return int(text)
