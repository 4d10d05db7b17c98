"""Compute the loss at a power cut: the confirmed events whose data was not synced before the power cut."""

import re
from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

_CALLS = r"(fsync|fdatasync|write|writev|pwrite64)"
_WHOLE = re.compile(rf"^(\d+) +(\d+\.\d+) {_CALLS}\(\d+<([^>]*)>.*\) += (\d+) <(\d+\.\d+)>")
_BEGUN = re.compile(rf"^(\d+) +(\d+\.\d+) {_CALLS}\(\d+<([^>]*)>.*<unfinished")
_ENDED = re.compile(rf"^(\d+) +(\d+\.\d+) <\.\.\. {_CALLS} resumed>.*\) += (\d+) ")


class Call(NamedTuple):
    """A successful write to a file, or a sync of it. Times are seconds since 1970."""

    begun_s: float
    ended_s: float
    path: str
    written: int
    """Bytes; 0 for a sync."""
    is_sync: bool


class Sample(NamedTuple):
    """The total number of confirmed events at a moment."""

    at_s: float
    confirmed: int


class AtRisk(NamedTuple):
    """The confirmed events that a power cut at a moment would lose."""

    events: int
    age_ms: float
    """Time since the oldest of them was confirmed."""


def parse_trace(trace: str) -> list[Call]:
    """Return writes and syncs from the output of `strace -f -y -ttt -T`, in the order of their ends."""
    calls: list[Call] = []
    open_ones: dict[str, tuple[float, str]] = {}
    for line in trace.splitlines():
        if whole := _WHOLE.match(line):
            begun_s = float(whole[2])
            calls.append(_call(begun_s, begun_s + float(whole[6]), whole[4], whole[3], whole[5]))
        elif begun := _BEGUN.match(line):
            open_ones[begun[1]] = (float(begun[2]), begun[4])
        elif (ended := _ENDED.match(line)) and ended[1] in open_ones:
            begun_s, path = open_ones.pop(ended[1])
            calls.append(_call(begun_s, float(ended[2]), path, ended[3], ended[4]))
    return sorted(calls, key=lambda call: call.ended_s)


def _call(begun_s: float, ended_s: float, path: str, name: str, result: str) -> Call:
    is_sync = name.endswith("sync")
    return Call(begun_s, ended_s, path, 0 if is_sync else int(result), is_sync)


def at_risk(samples: Sequence[Sample], calls: Sequence[Call], moment_s: float) -> AtRisk:
    """Return the loss at a power cut at `moment_s`.

    `samples` are in order of time. At the last sample, every write is confirmed. `calls` are the writes and syncs of
    the files with events. All events must have the same size. Data is safe if it was written before the last completed
    sync began: a sync may not include data that is written while it runs.
    """
    all_bytes = sum(call.written for call in calls)
    synced_s = max((call.begun_s for call in calls if call.is_sync and call.ended_s <= moment_s), default=0.0)
    safe_bytes = sum(call.written for call in calls if call.ended_s <= synced_s)
    safe_events = round(samples[-1].confirmed * safe_bytes / all_bytes) if all_bytes else 0
    so_far = list(takewhile(lambda sample: sample.at_s <= moment_s, samples))
    unsafe = [sample for sample in so_far if sample.confirmed > safe_events]
    if not unsafe:
        return AtRisk(0, 0.0)
    return AtRisk(unsafe[-1].confirmed - safe_events, (moment_s - unsafe[0].at_s) * 1000)
