import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.tracker.store import segments
from services.tracker.store.segments import FIRST_RECORD, SpooledPush, SpoolRecord

MARK = bytes(range(16))
MUCH = 1 << 40

pushes = st.builds(
    SpooledPush,
    producer_id=st.text(max_size=40),
    sequence=st.integers(1, 2**63 - 1),
    entries=st.lists(st.binary(max_size=200), min_size=1, max_size=5),
)


def encode(push: SpooledPush) -> bytes:
    return segments.encode_record(MARK, push.producer_id, push.sequence, push.entries)


@contextmanager
def memory_file(data: bytes) -> Iterator[int]:
    file = os.memfd_create("segment")
    try:
        segments.write_all(file, data, 0)
        yield file
    finally:
        os.close(file)


def read_all(file: int, *, max_bytes: int = MUCH) -> tuple[list[SpoolRecord], int, int]:
    end = os.fstat(file).st_size
    records: list[SpoolRecord] = []
    damaged = torn = 0
    offset = FIRST_RECORD
    while offset < end:
        found = segments.read_records(file, MARK, offset, end, max_bytes=max_bytes)
        assert found.end > offset, "no progress"
        records += found.records
        damaged += found.damaged
        torn += found.torn
        offset = found.end
    return records, damaged, torn


def segment_of(written: list[SpooledPush]) -> bytes:
    return segments.encode_position(FIRST_RECORD) + b"".join(map(encode, written))


@given(written=st.lists(pushes, max_size=8), max_bytes=st.integers(1, 2000))
def test_segment_returns_all_records_for_any_read_size(written: list[SpooledPush], max_bytes: int) -> None:
    with memory_file(segment_of(written)) as file:
        records, damaged, torn = read_all(file, max_bytes=max_bytes)
        assert [record.push for record in records] == written
        assert (damaged, torn) == (0, 0)
        counted = segments.count_entries(file, MARK, FIRST_RECORD, os.fstat(file).st_size)
        assert counted.entries == sum(len(push.entries) for push in written)
        assert counted.end == os.fstat(file).st_size


@given(written=st.lists(pushes, min_size=1, max_size=5), data=st.data())
def test_truncated_segment_loses_records_after_the_cut_only(written: list[SpooledPush], data: st.DataObject) -> None:
    whole = segment_of(written)
    cut = data.draw(st.integers(FIRST_RECORD, len(whole)))
    ends = [FIRST_RECORD + sum(len(encode(push)) for push in written[: count + 1]) for count in range(len(written))]
    with memory_file(whole[:cut]) as file:
        records, damaged, torn = read_all(file)
        assert [record.push for record in records] == written[: sum(end <= cut for end in ends)]
        assert (damaged, torn) == (0, cut not in (FIRST_RECORD, *ends))


@settings(max_examples=400)
@given(written=st.lists(pushes, min_size=1, max_size=5), flip=st.integers(1, 255), data=st.data())
def test_flipped_byte_damages_one_record_only(written: list[SpooledPush], flip: int, data: st.DataObject) -> None:
    whole = bytearray(segment_of(written))
    at = data.draw(st.integers(FIRST_RECORD, len(whole) - 1))
    whole[at] ^= flip
    begins = [FIRST_RECORD + sum(len(encode(push)) for push in written[:count]) for count in range(len(written))]
    hit = sum(begin <= at for begin in begins) - 1
    with memory_file(bytes(whole)) as file:
        records, damaged, torn = read_all(file)
        assert [record.push for record in records] == [*written[:hit], *written[hit + 1 :]]
        assert damaged + torn == 1
        assert torn == 0 or hit == len(written) - 1


@given(written=st.lists(pushes, max_size=4), noise=st.binary(max_size=400), data=st.data())
def test_noise_never_becomes_a_record(written: list[SpooledPush], noise: bytes, data: st.DataObject) -> None:
    whole = segment_of(written)
    at = data.draw(st.integers(FIRST_RECORD, len(whole)))
    with memory_file(whole[:at] + noise + whole[at:]) as file:
        records, _, _ = read_all(file)
        read = [record.push for record in records]
        assert all(push in written for push in read)
        assert len(read) >= len(written) - 1


def test_zeros_in_place_of_a_record_are_torn_not_damaged() -> None:
    last = encode(SpooledPush("p", 2, [b"b" * 50]))
    for kept in (0, 10, 20, 24, 40):
        data = segment_of([SpooledPush("p", 1, [b"a"])]) + last[:kept] + bytes(len(last) - kept)
        with memory_file(data) as file:
            assert read_all(file)[1:] == (0, 1)


def test_long_damaged_range_is_skipped() -> None:
    before, after = SpooledPush("p", 1, [b"a"]), SpooledPush("p", 2, [b"b"])
    for size in (262_143, 262_144, 1_000_003):
        data = segment_of([before]) + b"\xff" * size + encode(after)
        with memory_file(data) as file:
            records, damaged, torn = read_all(file)
            assert [record.push for record in records] == [before, after]
            assert (damaged, torn) == (1, 0)


def test_complete_record_of_another_version_is_damage() -> None:
    body = b"\x93\x01\x02\x03"
    wrong = segments.encode_record(MARK, "p", 1, [b"x"])
    length = len(body).to_bytes(4, "big")
    checksum = zlib.crc32(body, zlib.crc32(length)).to_bytes(4, "big")
    data = segments.encode_position(FIRST_RECORD) + MARK + length + checksum + body + wrong
    with memory_file(data) as file:
        records, damaged, _ = read_all(file)
    assert (len(records), damaged) == (1, 1)


@given(st.binary(max_size=FIRST_RECORD))
def test_unreadable_position_is_first_record(data: bytes) -> None:
    with memory_file(data) as file:
        assert segments.read_position(file) == FIRST_RECORD


@given(st.integers(FIRST_RECORD, 2**63))
def test_position_is_decoded_as_encoded(offset: int) -> None:
    with memory_file(segments.encode_position(offset)) as file:
        assert segments.read_position(file) == offset


@pytest.mark.parametrize("name", ["lock", "probe", "1-ab.spool", f"{7:012}-{MARK.hex()}.spool.unreadable"])
def test_other_files_are_not_segments(name: str) -> None:
    assert segments.read_name(name) is None
    assert segments.read_name(segments.segment_name(7, MARK)) == (7, MARK)


def test_sync_directory_raises_when_directory_is_missing(tmp_path: Path) -> None:
    segments.sync_directory(tmp_path)
    with pytest.raises(OSError, match="gone"):
        segments.sync_directory(tmp_path / "gone")
