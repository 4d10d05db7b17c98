"""The format of the topic `events.dead`: the one encoder and the one decoder of a dead letter. Pure: no I/O, no clock.

The value of a record is the queue entry that could not be processed. Its headers are texts: `reason`, `stage`, `time`
(ms since 1970) and `attempt`. kafkastore writes dead letters; kafidx and the operators' tools read them.
"""

import re
from hashlib import blake2b
from typing import Final, NamedTuple

from services.backbone import names
from services.backbone.events import Record
from services.backbone.record_headers import RecordHeaders, header_value

_DIGEST_BYTES: Final = 16
_TRUNCATED: Final = re.compile(r"\(cut from \d+ bytes\)$", re.ASCII)
_HIGHEST_NUMBER: Final = 8_640_000_000_000_000
"""The last ms that a date of JavaScript can hold. It is below 2**53, above which JavaScript loses digits."""


class DeadLetter(NamedTuple):
    """A record of the topic `events.dead`. Anybody may write to the topic, so every header may be missing."""

    payload: bytes
    """The queue entry, or its first bytes when it is truncated. kafkastore masks addresses in it by IP_MODE."""
    stage: str
    """The step in which the entry failed: decode, enrich, encode or produce."""
    reason: str
    time_ms: int | None
    """Time of the failure, ms since 1970 UTC. None when the header is missing or invalid."""
    attempt: int | None
    """Number of the attempt to produce the batch of the entry, from 1. None when the header is missing or invalid."""

    @property
    def is_truncated(self) -> bool:
        """Whether the payload is only the first part of the entry."""
        return is_truncated(self.reason)

    def truncate(self, length: int) -> "DeadLetter":
        """Return the letter with the first `length` bytes of its payload. The reason contains the original size."""
        return self._replace(
            payload=self.payload[:length], reason=f"{self.reason} (cut from {len(self.payload)} bytes)"
        )


def is_truncated(reason: str) -> bool:
    """Return whether a reason belongs to a truncated letter."""
    return _TRUNCATED.search(reason) is not None


def encode_dead_letter(letter: DeadLetter) -> Record:
    """Encode a dead letter as a record without a key."""
    headers = [
        (names.HEADER_DEAD_REASON, letter.reason.encode("utf-8", "replace")),
        (names.HEADER_DEAD_STAGE, letter.stage.encode("utf-8", "replace")),
    ]
    if letter.time_ms is not None:
        headers.append((names.HEADER_DEAD_TIME, b"%d" % letter.time_ms))
    if letter.attempt is not None:
        headers.append((names.HEADER_DEAD_ATTEMPT, b"%d" % letter.attempt))
    return Record(letter.payload, None, tuple(headers), letter.time_ms)


def decode_dead_letter(value: bytes | None, headers: RecordHeaders) -> DeadLetter:
    r"""Decode a record. Never raises: bytes that are not UTF-8 become `\xNN`, invalid numbers count as missing.

    A null value is an empty payload, and a null header counts as missing.
    """
    found = tuple(headers)
    return DeadLetter(
        payload=bytes(value or b""),
        stage=header_value(found, names.HEADER_DEAD_STAGE).decode("utf-8", "backslashreplace"),
        reason=header_value(found, names.HEADER_DEAD_REASON).decode("utf-8", "backslashreplace"),
        time_ms=_number(header_value(found, names.HEADER_DEAD_TIME)),
        attempt=_number(header_value(found, names.HEADER_DEAD_ATTEMPT)),
    )


def dead_letter_digest(value: bytes | None, headers: RecordHeaders) -> bytes:
    """Return the digest of a letter: of its value and its time header, which stay the same when it is rewritten."""
    return payload_digest(header_value(headers, names.HEADER_DEAD_TIME) + b" " + bytes(value or b""))


def payload_digest(payload: bytes) -> bytes:
    """Return the digest of an entry. Several letters can hold the same entry."""
    return blake2b(payload, digest_size=_DIGEST_BYTES).digest()


def _number(digits: bytes) -> int | None:
    # int() alone accepts "1_0", spaces, and thousands of digits.
    if not digits.isdigit() or len(digits) > len(str(_HIGHEST_NUMBER)):
        return None
    number = int(digits)
    return number if number <= _HIGHEST_NUMBER else None
