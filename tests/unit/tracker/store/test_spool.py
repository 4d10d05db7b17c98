import asyncio
import errno
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.tracker.metrics import Metrics
from services.tracker.store import segments
from services.tracker.store import spool as spool_module
from services.tracker.store.segments import SpooledPush
from services.tracker.store.spool import NotSpooled, Spool, SpoolUnusable

MIB = 1_048_576
Opener = Callable[..., Spool]


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def value(registry: CollectorRegistry, name: str) -> float:
    return registry.get_sample_value(name) or 0.0


@pytest.fixture
async def open_spool(tmp_path: Path) -> AsyncIterator[Opener]:
    """Return a function that opens spools. They are closed after the test."""
    opened: list[Spool] = []

    def open_one(directory: Path = tmp_path / "spool", *, max_bytes: int = 64 * MIB) -> Spool:
        opened.append(Spool.open(directory, Metrics(CollectorRegistry()), max_bytes=max_bytes))
        return opened[-1]

    yield open_one
    for spool in opened:
        if spool not in crashed:
            await spool.aclose()
    crashed.clear()


crashed: list[Spool] = []


def crash(spool: Spool) -> None:
    """Leave the spool as after a SIGKILL: the files unchanged, the lock released."""
    crashed.append(spool)
    spool._writer.shutdown()
    spool._reader.shutdown()
    for segment in spool._segments:
        os.close(segment.file)
    os.close(spool._slot.lock)


async def take_all(spool: Spool) -> list[SpooledPush]:
    """Replay the whole spool."""
    taken = []
    while records := await spool.read():
        for record in records:
            taken.append(record.push)
            spool.acknowledge(record)
        await spool.save_position()
    return taken


def entries_of(taken: list[SpooledPush]) -> list[bytes]:
    return [entry for push in taken for entry in push.entries]


async def fill(spool: Spool, size: int) -> int:
    """Append pushes until the spool is full; return their number. Each entry begins with the number of its push."""
    for number in range(10_000):
        try:
            await spool.append([b"%d" % number + b"x" * size])
        except NotSpooled as error:
            assert error.reason == "spool_full"  # noqa: PT017 - another reason is a failure
            return number
    raise AssertionError("the spool is not full after 10,000 pushes")


def files_in(spool: Spool) -> list[Path]:
    return sorted(spool._slot.directory.glob("*.spool"))


async def test_spool_returns_pushes_in_order_with_sequences_and_removes_files(open_spool: Opener) -> None:
    spool = open_spool()
    await spool.append([b"timed out"], producer_id="direct", sequence=17)
    await spool.append([b"a", b"b"])
    await spool.append([b"c"])
    assert (spool.entries, spool.is_empty) == (4, False)
    taken = await take_all(spool)
    assert entries_of(taken) == [b"timed out", b"a", b"b", b"c"]
    assert (taken[0].producer_id, taken[0].sequence) == ("direct", 17)
    assert taken[1].producer_id == taken[2].producer_id != "direct"
    assert taken[1].sequence < taken[2].sequence
    assert (spool.entries, spool.size, spool.is_empty, files_in(spool)) == (0, 0, True, [])


async def test_each_segment_has_its_own_producer_id(open_spool: Opener) -> None:
    spool = open_spool()
    await spool.append([b"a"])
    first = await take_all(spool)
    await spool.append([b"b"])
    second = await take_all(spool)
    assert first[0].producer_id != second[0].producer_id


async def test_full_segments_are_followed_by_new_ones_and_removed_one_by_one(
    open_spool: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "_SEGMENT_BYTES", 1000)
    monkeypatch.setattr(spool_module, "_READ_BYTES", 100)
    spool = open_spool()
    written = [b"%d" % number * 50 for number in range(30)]
    for entry in written:
        await spool.append([entry])
    files = len(files_in(spool))
    assert files > 3
    sizes, taken = [], []
    while records := await spool.read():
        for record in records:
            taken += record.push.entries
            spool.acknowledge(record)
        await spool.save_position()
        sizes.append(len(files_in(spool)))
    assert taken == written
    assert sizes == sorted(sizes, reverse=True)
    assert set(sizes) == set(range(files + 1))


async def test_spool_keeps_unacknowledged_records_only_after_kill(
    open_spool: Opener,
) -> None:
    spool = open_spool()
    for number in range(10):
        await spool.append([b"%d" % number])
    before = [record.push for record in await spool.read()]
    for record in (await spool.read())[:4]:
        spool.acknowledge(record)
    await spool.save_position()
    crash(spool)
    after = open_spool()
    assert after.entries == 6
    assert await take_all(after) == before[4:]


async def test_append_continues_during_replay_of_same_segment(open_spool: Opener) -> None:
    spool = open_spool()
    taken: list[SpooledPush] = []

    async def append() -> None:
        for number in range(200):
            await spool.append([b"%d" % number])

    appending = asyncio.create_task(append())
    while not appending.done() or not spool.is_empty:
        taken += await take_all(spool)
        await asyncio.sleep(0)
    await appending
    assert entries_of(taken) == [b"%d" % number for number in range(200)]
    assert files_in(spool) == []


async def test_each_process_has_a_slot_and_next_process_takes_over_dead_slot(
    open_spool: Opener, tmp_path: Path
) -> None:
    one, two = open_spool(), open_spool()
    assert one._slot.directory != two._slot.directory
    await one.append([b"one"])
    await two.append([b"two"])
    await two.append([b"three"])
    crash(two)
    assert entries_of(await take_all(one)) == [b"one"]  # a running process does not take over other slots
    crash(one)
    three = open_spool()
    assert three.entries == 2
    assert entries_of(await take_all(three)) == [b"two", b"three"]
    assert list((tmp_path / "spool").rglob("*.spool")) == []


async def test_segments_of_a_running_process_are_not_taken_over(open_spool: Opener) -> None:
    one = open_spool()
    await one.append([b"one"])
    assert open_spool().entries == 0
    assert entries_of(await take_all(one)) == [b"one"]


async def test_spool_files_are_readable_by_owner_only(open_spool: Opener, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        spool = open_spool()
        await spool.append([b"x"])
    finally:
        os.umask(before)
    paths = [tmp_path / "spool", *(tmp_path / "spool").rglob("*")]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_dir()}
    assert modes == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths if path.is_file()} == {0o600}


def reopen(directory: Path, registry: CollectorRegistry) -> Spool:
    return Spool.open(directory, Metrics(registry), max_bytes=64 * MIB)


async def test_torn_last_record_is_skipped_and_counted(
    open_spool: Opener, tmp_path: Path, registry: CollectorRegistry
) -> None:
    spool = open_spool()
    await spool.append([b"a"])
    await spool.append([b"b" * 100])
    [file] = files_in(spool)
    crash(spool)
    os.truncate(file, file.stat().st_size - 30)
    again = reopen(tmp_path / "spool", registry)
    assert value(registry, "push_tracker_spool_torn_total") == 1
    assert value(registry, "push_tracker_spool_damaged_total") == 0
    assert value(registry, "push_tracker_spool_events") == 1
    assert entries_of(await take_all(again)) == [b"a"]
    await again.aclose()


async def test_damaged_record_is_lost_and_counted_once(
    open_spool: Opener, tmp_path: Path, registry: CollectorRegistry
) -> None:
    spool = open_spool()
    for number in range(5):
        await spool.append([b"%d" % number * 100])
    [file] = files_in(spool)
    ends = [record.end for record in await spool.read()]
    crash(spool)
    with file.open("r+b") as stream:
        stream.seek(ends[1] + 60)
        stream.write(b"?")
    again = reopen(tmp_path / "spool", registry)
    assert value(registry, "push_tracker_spool_events") == 4
    assert entries_of(await take_all(again)) == [b"%d" % number * 100 for number in (0, 1, 3, 4)]
    assert value(registry, "push_tracker_spool_damaged_total") == 1
    assert value(registry, "push_tracker_spool_torn_total") == 0
    await again.aclose()


async def test_damage_is_counted_while_process_runs(tmp_path: Path, registry: CollectorRegistry) -> None:
    spool = reopen(tmp_path / "spool", registry)
    await spool.append([b"0" * 100])
    await spool.append([b"1" * 100])
    with files_in(spool)[0].open("r+b") as stream:
        stream.seek(100)
        stream.write(b"?")
    assert entries_of(await take_all(spool)) == [b"1" * 100]
    assert value(registry, "push_tracker_spool_damaged_total") == 1
    assert value(registry, "push_tracker_spool_events") == 0
    await spool.aclose()


async def test_spool_is_full_at_its_limit_until_replay(open_spool: Opener) -> None:
    spool = open_spool(max_bytes=MIB)
    stored = await fill(spool, 50_000)
    assert stored > 15
    assert spool.size <= MIB
    with pytest.raises(NotSpooled, match="is full"):
        await spool.check()
    assert len(await take_all(spool)) == stored
    await spool.check()
    await spool.append([b"x"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mounting a small file system failed: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


async def test_spool_truncates_partial_record_when_disk_is_full(open_spool: Opener, small_disk: Path) -> None:
    spool = open_spool(small_disk / "spool")
    stored = await fill(spool, 100_000)
    [file] = files_in(spool)
    assert file.stat().st_size == spool.size
    with pytest.raises(NotSpooled, match="is full"):
        await spool.check()
    taken = await take_all(spool)
    assert [entry[:-100_000] for entry in entries_of(taken)] == [b"%d" % number for number in range(stored)]
    await spool.check()
    await spool.append([b"x" * 100_000])
    assert len(await take_all(spool)) == 1


async def test_spool_reports_failed_disk_and_continues_in_new_segment(
    open_spool: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = open_spool()
    await spool.append([b"before"])

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "pwrite", fail)
        for _ in range(2):
            with pytest.raises(NotSpooled) as caught:
                await spool.append([b"never"])
            assert caught.value.reason == "spool_failed"
        with pytest.raises(NotSpooled, match="writing the spool failed"):
            await spool.check()
    await spool.check()
    await spool.append([b"after"])
    assert len(files_in(spool)) == 2
    assert entries_of(await take_all(spool)) == [b"before", b"after"]


async def test_unreadable_segment_is_renamed(open_spool: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = open_spool()
    await spool.append([b"a"])
    [file] = files_in(spool)
    read = segments.read_records

    def fail(*arguments: int, **options: int) -> segments.SegmentPart:
        if arguments[0] == broken_file:
            raise OSError(errno.EIO, "Input/output error")
        return read(*arguments, **options)  # type: ignore[arg-type]

    broken_file = spool._segments[0].file
    monkeypatch.setattr(segments, "read_records", fail)
    assert await take_all(spool) == []
    assert file.with_name(file.name + ".unreadable").exists()
    await spool.append([b"b"])
    monkeypatch.undo()
    assert entries_of(await take_all(spool)) == [b"b"]


async def test_spool_opens_without_segment_when_segment_is_unreadable(
    open_spool: Opener, tmp_path: Path, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for entry in (b"a", b"b"):
        spool = open_spool()
        await spool.append([entry])
        crash(spool)
    [broken, _] = sorted((tmp_path / "spool").rglob("*.spool"))
    broken_file, count = broken.stat(), segments.count_entries

    def fail(file: int, *arguments: Any) -> segments.SegmentCount:
        if os.path.samestat(os.fstat(file), broken_file):
            raise OSError(errno.EIO, "Input/output error")
        return count(file, *arguments)

    with monkeypatch.context() as disk:
        disk.setattr(segments, "count_entries", fail)
        spool = reopen(tmp_path / "spool", registry)
    assert entries_of(await take_all(spool)) == [b"b"]
    assert value(registry, "push_tracker_spool_damaged_total") == 1
    assert [path.name for path in (tmp_path / "spool").rglob("*.unreadable")] == [broken.name + ".unreadable"]
    await spool.aclose()


async def test_append_fails_within_limit_when_disk_hangs(open_spool: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = open_spool()
    hanging = threading.Event()
    write = segments.write_all

    def hang(*arguments: Any) -> None:
        hanging.wait(20)
        write(*arguments)

    with monkeypatch.context() as disk:
        disk.setattr(segments, "write_all", hang)
        disk.setattr(spool_module, "_WRITE_LIMIT_S", 0.2)
        for _ in range(2):
            with pytest.raises(NotSpooled, match="did not respond"):
                await spool.append([b"late"])
        hanging.set()
        await spool.append([b"after"])
    # The refused entries are also stored. A client sends them again with their ids.
    assert entries_of(await take_all(spool))[-1] == b"after"


async def test_spool_keeps_segment_when_large_push_does_not_fit(open_spool: Opener) -> None:
    spool = open_spool(max_bytes=MIB)
    await spool.append([b"small"])
    with pytest.raises(NotSpooled):
        await spool.append([b"x" * 2 * MIB])
    await spool.append([b"small"])
    assert len(files_in(spool)) == 1


async def test_append_is_counted_when_its_caller_is_cancelled(open_spool: Opener) -> None:
    spool = open_spool()
    appending = asyncio.create_task(spool.append([b"a"]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    appending.cancel()
    await spool.append([b"b"])
    assert entries_of(await take_all(spool)) == [b"a", b"b"]


def test_spool_open_error_contains_unusable_directory(tmp_path: Path, registry: CollectorRegistry) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolUnusable, match=r"TRACKER_SPOOL_DIRECTORY: .*/file/spool is unusable: Not a directory"):
        reopen(tmp_path / "file" / "spool", registry)


async def test_scan_reads_what_is_not_acknowledged_and_changes_nothing(open_spool: Opener) -> None:
    spool = open_spool()
    for number in range(20):
        await spool.append([b"%d-%d" % (number, at) for at in range(3)])
    records = await spool.read()
    for record in records[:5]:
        spool.acknowledge(record)
    found: list[tuple[str, bytes]] = []
    parts = 0
    async for _ in spool.scan(lambda segment, entry: found.append((segment, entry)), part_bytes=100):
        parts += 1
    assert [entry for _, entry in found] == [b"%d-%d" % (number, at) for number in range(5, 20) for at in range(3)]
    assert {segment for segment, _ in found} == {spool._segments[0].path.name}
    assert parts > 3
    assert spool.entries == 45
    assert (await spool.read())[0].push.entries[0] == b"5-0"


async def test_scan_leaves_out_what_redis_confirms_meanwhile(open_spool: Opener) -> None:
    spool = open_spool()
    for number in range(20):
        await spool.append([b"%d" % number])
    found: list[bytes] = []
    async for _ in spool.scan(lambda _, entry: found.append(entry), part_bytes=1):
        if len(found) == 3:
            for record in await spool.read():
                spool.acknowledge(record)
            await spool.save_position()
    assert found == [b"0", b"1", b"2"]
    assert spool.is_empty
