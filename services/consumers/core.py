"""What the statistics consumers share: how a batch becomes counts, and what a label may be. Pure."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple

from services.backbone.events import FINGERPRINT_BYTES, EncodedEvent, InvalidEvent, fingerprint, split_event

LABEL_MAX_CHARS: Final = 200
"""Longer texts are cut: visitors choose them, and each may be as long as a request."""

Counts = defaultdict[str, int]

Count = Callable[[EncodedEvent, Counts, int], None]
"""Adds what one event is counted as. The third argument is the time it was seen at, ms since 1970. Never raises."""


Headers = Iterable[tuple[str, bytes]]


class Folded(NamedTuple):
    """What a batch adds up to."""

    counts: Counts
    events: int
    invalid: int
    """Records that are no events: not three fields with one space between."""
    duplicates: int
    """Events whose fingerprint is one of `known`, or that of an event before them in the batch."""
    ids: bytes
    """The fingerprints of the counted events, one after the other. Events without an id have none."""


def fold(
    records: Iterable[tuple[bytes | None, bytes | None, Headers]],
    count: Count,
    *,
    seen_at_ms: int,
    known: Collection[bytes] = frozenset(),
) -> Folded:
    """Count the records of a batch, each a key, a value and headers, and each event once.

    A record that is no event is passed over; what is in its fields is not judged. Two records are one event if their
    fingerprints are equal (`events.fingerprint`); an event without an id is always counted. `known` are fingerprints of
    events that were counted before. All counters use this one rule, so their sums agree.
    """
    counts: Counts = defaultdict(int)
    seen = set(known)
    ids: list[bytes] = []
    events = invalid = duplicates = 0
    for key, value, headers in records:
        try:
            event = split_event(value or b"")
        except InvalidEvent:
            invalid += 1
            continue
        id_ = fingerprint(event, key, headers)
        if id_ is not None:
            if id_ in seen:
                duplicates += 1
                continue
            seen.add(id_)
            ids.append(id_)
        count(event, counts, seen_at_ms)
        events += 1
    return Folded(counts, events, invalid, duplicates, b"".join(ids))


def ids_at(ids: bytes, places: Iterable[int]) -> set[bytes]:
    """Return the fingerprints at these places, from 0, of a fold's `ids`."""
    return {ids[place * FINGERPRINT_BYTES : (place + 1) * FINGERPRINT_BYTES] for place in places}


def cut_label(text: str) -> str:
    """Bound the length of a label; a cut one ends with an ellipsis."""
    return text if len(text) <= LABEL_MAX_CHARS else f"{text[: LABEL_MAX_CHARS - 1]}…"


def whole_number(text: bytes | None) -> int | None:
    """Read a number of milliseconds, which may be negative; None when it is not there or is no such number."""
    digits = text[1:] if text is not None and text.startswith(b"-") else text
    # int() alone would take "1_0", spaces, and thousands of digits.
    if text is None or digits is None or not digits.isdigit() or len(digits) > len(str(2**63)):
        return None
    return int(text)
