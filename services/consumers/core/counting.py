"""The rules that all statistics consumers share: fold a batch into counts, and bound labels. Pure."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple

from services.backbone.events import FINGERPRINT_BYTES, EncodedEvent, InvalidEvent, fingerprint, split_event
from services.backbone.record_headers import RecordHeaders

LABEL_MAX_CHARS: Final = 200
"""The maximum length of a label. Visitors choose these texts, and each may be as long as a request."""

Counts = defaultdict[str, int]

Count = Callable[[EncodedEvent, Counts, int], None]
"""Adds one event to the counts. The third argument is the time of processing, ms since 1970. Never raises."""


class Folded(NamedTuple):
    """The sums of a batch."""

    counts: Counts
    events: int
    invalid: int
    """Records that are not three fields separated by single spaces."""
    duplicates: int
    """Events whose fingerprint is in `known`, or equals the fingerprint of an earlier event of the batch."""
    ids: bytes
    """The fingerprints of the counted events, concatenated. Events without an id have none."""


def fold(
    records: Iterable[tuple[bytes | None, bytes | None, RecordHeaders]],
    count: Count,
    *,
    seen_at_ms: int,
    known: Collection[bytes] = frozenset(),
) -> Folded:
    """Count each event of a batch once. A record is its key, value and headers.

    A record is an event if it has three fields; the content of the fields is not checked. Other records are skipped.
    Two records are one event if their fingerprints are equal (`events.fingerprint`). An event without an id is always
    counted. `known` holds fingerprints of events that were counted before. All counters use this rule, so their sums
    agree.
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


def ids_at(ids: bytes, indexes: Iterable[int]) -> set[bytes]:
    """Return the fingerprints at these indexes of `Folded.ids`."""
    return {ids[index * FINGERPRINT_BYTES : (index + 1) * FINGERPRINT_BYTES] for index in indexes}


def cut_label(text: str) -> str:
    """Return the label with at most `LABEL_MAX_CHARS` characters. A truncated label ends with an ellipsis."""
    return text if len(text) <= LABEL_MAX_CHARS else f"{text[: LABEL_MAX_CHARS - 1]}…"


def whole_number(text: bytes | None) -> int | None:
    """Return a decimal integer, possibly negative. Return None if the text is missing or is not one."""
    digits = text[1:] if text is not None and text.startswith(b"-") else text
    # int() alone accepts "1_0", spaces, and thousands of digits.
    if text is None or digits is None or not digits.isdigit() or len(digits) > len(str(2**63)):
        return None
    return int(text)
