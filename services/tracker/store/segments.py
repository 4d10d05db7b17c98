"""Segments: the files of the spool. A reader skips damaged data, without an error and without a wrong record.

A segment's file name holds its order and its mark, 16 random bytes as hexadecimal digits: `000000000007-<mark>.spool`.
The file has this format, with big-endian integers:

    position    8 bytes: the offset of the first record that Redis has not confirmed; 4 bytes: CRC-32 of it
    records     each: the mark; 4 bytes: length of the body; 4 bytes: CRC-32 of length and body;
                the body: MessagePack of producer id, sequence and entries

After an unreadable record, reading continues at the next mark. Clients do not know the mark, so no event contains it.
The position is overwritten after each replayed part. After a crash it may be too low. Then records are pushed again,
and Redis drops them by their producer id and sequence (EventQueue.push).
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
"""The offset of the first record; also the size of an empty segment."""
RECORD_HEAD_BYTES: Final = MARK_BYTES + _LENGTH.size + _CHECKSUM.size

_NAME: Final = re.compile(r"(\d{12})-([0-9a-f]{32})\.spool")
_SEARCH_BYTES: Final = 262_144  # bytes of one read while searching for a mark


class SpooledPush(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The arguments of EventQueue.push."""

    producer_id: str
    sequence: int
    entries: list[bytes]


class SpoolRecord(NamedTuple):
    """A push in a segment, and the offset of its end."""

    push: SpooledPush
    end: int


class SegmentPart(NamedTuple):
    """The records of a part of a segment."""

    records: list[SpoolRecord]
    end: int
    """The offset of the next read. Everything before it is in `records` or unreadable."""
    damaged: int = 0
    """The number of unreadable ranges. Each may hold several records."""
    torn: bool = False
    """Whether the part ends with an incomplete record. Its events got no 2xx response."""


class SegmentCount(NamedTuple):
    """The number of entries in a segment, and its damage."""

    entries: int
    end: int
    """The end of the last readable record."""
    damaged: int
    torn: bool


def segment_name(order: int, mark: bytes) -> str:
    """Return the name of a segment's file."""
    return f"{order:012}-{mark.hex()}.spool"


def read_name(name: str) -> tuple[int, bytes] | None:
    """Return the order and the mark of a segment's file; None when the file is not a segment."""
    match = _NAME.fullmatch(name)
    return (int(match[1]), bytes.fromhex(match[2])) if match else None


def encode_record(mark: bytes, producer_id: str, sequence: int, entries: Sequence[bytes]) -> bytes:
    """Encode one record."""
    body = msgspec.msgpack.encode(SpooledPush(producer_id, sequence, list(entries)))
    length = _LENGTH.pack(len(body))
    return b"".join((mark, length, _CHECKSUM.pack(zlib.crc32(body, zlib.crc32(length))), body))


def encode_position(offset: int) -> bytes:
    """Encode the position at the start of a segment."""
    packed = offset.to_bytes(8, "big")
    return packed + _CHECKSUM.pack(zlib.crc32(packed))


def read_position(file: int) -> int:
    """Return the offset of the first unconfirmed record, or of the first record when the position is unreadable."""
    packed = os.pread(file, FIRST_RECORD, 0)
    if len(packed) < FIRST_RECORD:
        return FIRST_RECORD
    offset, checksum = _POSITION.unpack(packed)
    return max(FIRST_RECORD, int(offset)) if checksum == zlib.crc32(packed[:8]) else FIRST_RECORD


def read_records(file: int, mark: bytes, begin: int, end: int, *, max_bytes: int) -> SegmentPart:
    """Read the records between two offsets. Stop after the record that reaches `max_bytes`.

    Raises OSError when reading the disk fails.
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
        next_record = _find_mark(file, mark, offset + 1, end)
        if next_record is None:
            torn = _is_torn(file, mark, offset, end)
            return SegmentPart(records, end, damaged + (not torn), torn)
        damaged += 1
        offset = next_record
    return SegmentPart(records, offset, damaged)


def count_entries(file: int, mark: bytes, begin: int, end: int) -> SegmentCount:
    """Count the entries between two offsets of a segment. Only one record is in memory at a time. Raises OSError."""
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
    """Return the body of the record at an offset; None when it is incomplete or damaged."""
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
        return None  # a complete record of another version


def _find_mark(file: int, mark: bytes, begin: int, end: int) -> int | None:
    while begin < end:
        chunk = os.pread(file, min(_SEARCH_BYTES, end - begin), begin)
        at = chunk.find(mark)
        if at >= 0:
            return begin + at
        if len(chunk) < MARK_BYTES:
            return None
        begin += len(chunk) - MARK_BYTES + 1
    return None


def _is_torn(file: int, mark: bytes, offset: int, end: int) -> bool:
    """Return whether a record is incomplete: its end is missing or consists of zeros. Otherwise the record is damaged.

    A file system may extend a file before it writes the data. After a power cut, it returns zeros for missing data.
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
    """Write all data. Raises OSError, possibly after a part is written."""
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view = view[written:]
        offset += written


def sync_directory(directory: Path) -> None:
    """Sync a directory, so that its file names survive a power cut."""
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
