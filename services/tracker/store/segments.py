"""Segments: the files of the spool. What a crash or a bad disk did to one never raises and never makes a wrong record.

A segment's file is named after its place in the order and its mark, 16 random bytes as hexadecimal digits:
`000000000007-<mark>.spool`. It holds, with all numbers big-endian:

    position    8 bytes: the offset of the first record that Redis has not confirmed; 4 bytes: CRC-32 of it
    records     each: the mark; 4 bytes: length of the body; 4 bytes: CRC-32 of length and body;
                the body: MessagePack of pusher, sequence and entries

A record that can't be read is passed over by looking for the next mark: nobody outside knows it, so no event can hold
one. The position is written over after each piece that was replayed: when it is behind, what is replayed again is
refused by its sequence (EventQueue.push).
"""

import os
import re
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

MARK_BYTES: Final = 16
_POSITION: Final = struct.Struct(">QL")
_LENGTH: Final = struct.Struct(">L")
_CHECKSUM: Final = struct.Struct(">L")
FIRST_RECORD: Final = _POSITION.size
"""The offset at which records begin; the size of a segment that holds none."""
RECORD_HEAD_BYTES: Final = MARK_BYTES + _LENGTH.size + _CHECKSUM.size

_NAME: Final = re.compile(r"(\d{12})-([0-9a-f]{32})\.spool")
_LOOK_BYTES: Final = 262_144  # how much is read at a time while a mark is looked for


class SpooledPush(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One numbered push: what EventQueue.push takes."""

    producer_id: str
    sequence: int
    entries: list[bytes]


class SpoolRecord(NamedTuple):
    """A push in a segment, and the offset behind it."""

    push: SpooledPush
    end: int


class SegmentPart(NamedTuple):
    """What a part of a segment holds."""

    records: list[SpoolRecord]
    end: int
    """Where to read on: all before it is in `records` or can't be read."""
    damaged: int = 0
    """Places that can't be read; each may have been one record or several."""
    torn: bool = False
    """The part ends within a record whose writing was cut off: nobody was told that it is stored."""


class SegmentCount(NamedTuple):
    """How many entries the records of a segment hold, and what of it can't be read."""

    entries: int
    end: int
    """Behind the last record that can be read."""
    damaged: int
    torn: bool


def segment_name(order: int, mark: bytes) -> str:
    """Name a segment's file."""
    return f"{order:012}-{mark.hex()}.spool"


def read_name(name: str) -> tuple[int, bytes] | None:
    """Return order and mark of a segment's file; None when the file is no segment."""
    match = _NAME.fullmatch(name)
    return (int(match[1]), bytes.fromhex(match[2])) if match else None


def encode_record(mark: bytes, producer_id: str, sequence: int, entries: Sequence[bytes]) -> bytes:
    """Make the bytes of one record."""
    body = msgspec.msgpack.encode(SpooledPush(producer_id, sequence, list(entries)))
    length = _LENGTH.pack(len(body))
    return b"".join((mark, length, _CHECKSUM.pack(zlib.crc32(body, zlib.crc32(length))), body))


def encode_position(offset: int) -> bytes:
    """Make the bytes that a segment begins with."""
    packed = offset.to_bytes(8, "big")
    return packed + _CHECKSUM.pack(zlib.crc32(packed))


def read_position(file: int) -> int:
    """Read where the first record begins that is not confirmed; the first of all when that can't be read."""
    packed = os.pread(file, FIRST_RECORD, 0)
    if len(packed) < FIRST_RECORD:
        return FIRST_RECORD
    offset, checksum = _POSITION.unpack(packed)
    return max(FIRST_RECORD, int(offset)) if checksum == zlib.crc32(packed[:8]) else FIRST_RECORD


def read_records(file: int, mark: bytes, begin: int, end: int, *, max_bytes: int) -> SegmentPart:
    """Read the records between two offsets, until they are `max_bytes` together: one at least, if there is any.

    Raises OSError when the disk can't be read.
    """
    records: list[SpoolRecord] = []
    offset, damaged, taken = begin, 0, 0
    while offset < end and taken < max_bytes:
        body = _read_body(file, mark, offset, end)
        push = None if body is None else _decode(body)
        if body is not None and push is not None:
            offset += RECORD_HEAD_BYTES + len(body)
            taken += len(body)
            records.append(SpoolRecord(push, offset))
            continue
        following = _find_mark(file, mark, offset + 1, end)
        if following is None:
            torn = _is_torn(file, mark, offset, end)
            return SegmentPart(records, end, damaged + (not torn), torn)
        damaged += 1
        offset = following
    return SegmentPart(records, offset, damaged)


def count_entries(file: int, mark: bytes, begin: int, end: int) -> SegmentCount:
    """Read a segment from an offset on and count, holding one record at a time. Raises OSError."""
    entries, offset, damaged, good = 0, begin, 0, begin
    torn = False
    while offset < end:
        found = read_records(file, mark, offset, end, max_bytes=1)
        entries += sum(len(record.push.entries) for record in found.records)
        good = found.records[-1].end if found.records else good
        damaged += found.damaged
        torn = found.torn
        offset = found.end
    return SegmentCount(entries, good, damaged, torn)


def _read_body(file: int, mark: bytes, offset: int, end: int) -> bytes | None:
    """Return the body of the record at an offset; None unless all of it is there as it was written."""
    head = os.pread(file, min(RECORD_HEAD_BYTES, end - offset), offset)
    if len(head) < RECORD_HEAD_BYTES or not head.startswith(mark):
        return None
    packed = head[MARK_BYTES : MARK_BYTES + _LENGTH.size]
    (length,) = _LENGTH.unpack(packed)
    if length > end - offset - RECORD_HEAD_BYTES:
        return None
    body = os.pread(file, length, offset + RECORD_HEAD_BYTES)
    checksum = zlib.crc32(body, zlib.crc32(packed))
    return body if len(body) == length and head.endswith(_CHECKSUM.pack(checksum)) else None


def _decode(body: bytes) -> SpooledPush | None:
    try:
        return msgspec.msgpack.decode(body, type=SpooledPush)
    except msgspec.DecodeError:
        return None  # whole, but not of this version


def _find_mark(file: int, mark: bytes, begin: int, end: int) -> int | None:
    while begin < end:
        chunk = os.pread(file, min(_LOOK_BYTES, end - begin), begin)
        at = chunk.find(mark)
        if at >= 0:
            return begin + at
        if len(chunk) < MARK_BYTES:
            return None
        begin += len(chunk) - MARK_BYTES + 1
    return None


def _is_torn(file: int, mark: bytes, offset: int, end: int) -> bool:
    """Tell a record that was never finished from one that went bad: its end is missing, or zeros stand for it.

    A file system may give a file its new size before the data is there; after a power cut zeros are in its place.
    """
    head = os.pread(file, min(RECORD_HEAD_BYTES, end - offset), offset)
    if not head.startswith(mark):
        return mark.startswith(head.rstrip(b"\0"))
    if len(head) < RECORD_HEAD_BYTES:
        return True
    (length,) = _LENGTH.unpack_from(head, MARK_BYTES)
    missing = offset + RECORD_HEAD_BYTES + length - end
    return missing > 0 or os.pread(file, 1, end - 1) == b"\0"


def write_all(file: int, data: bytes, offset: int) -> None:
    """Write all of it. Raises OSError; part of it may then be there."""
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view = view[written:]
        offset += written


def sync_directory(directory: Path) -> None:
    """Make the names in a directory outlive a power cut."""
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
