"""Spool: keeps pushes on disk, in order, until Redis confirms them.

Guarantee: after `append` returns, the push survives a kill of the process and a power cut, until it is acknowledged.
One thread writes to the disk and one reads. Only the event loop changes the counts, so they need no lock.

Each process writes to its slot, a subdirectory that it locks with flock. At its start it takes over the segments of
slots whose processes have ended. So several trackers can share one directory, and the next process sends the events of
a dead one.
"""

import asyncio
import contextlib
import errno
import os
import secrets
import shutil
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

from services.backbone.logs import get_logger
from services.tracker.metrics import Metrics
from services.tracker.store import segments, slots
from services.tracker.store.failures import FailureLog
from services.tracker.store.segments import SpoolRecord
from services.tracker.store.slots import Segment, Slot

log = get_logger(__name__)

_SEGMENT_BYTES: Final = 16_777_216  # a new segment begins at this size; a segment is removed as a whole
_READ_BYTES: Final = 1_048_576  # the size of one read; the position is saved after each read is pushed
_PROBE_BYTES: Final = 65_536
_WRITE_LIMIT_S: Final = 4.0  # if the disk hangs, a request and `aclose` each wait this long
_ROOM_LIMIT_S: Final = 0.5  # the readiness probe has a limit of 2 s
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

_Result = TypeVar("_Result")


class SpoolUnusable(Exception):
    """The directory cannot hold a spool. The message states the reason."""


class NotSpooled(Exception):
    """The push is not on disk."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        """spool_full or spool_failed."""


class _NoRoom(OSError):
    """The record is larger than the free part of TRACKER_SPOOL_BYTES. Nothing was written."""


class Spool:
    """The spool of one process.

    One task at a time may call `append`. One other task may call `read`, `acknowledge` and `save_position`.
    """

    def __init__(self, slot: Slot, metrics: Metrics, *, max_bytes: int, batch_bytes: int) -> None:
        """Create a spool in an open slot; see `Spool.open`."""
        self._slot = slot
        self._metrics = metrics
        self._max_bytes = max_bytes
        self._batch_bytes = batch_bytes
        self._segments = deque(slot.found)
        self._next_order = 1 + max((slots.order_of(segment.path) for segment in slot.found), default=0)
        self._active: Segment | None = None
        self._writing = asyncio.Lock()
        """Held during a write. `aclose` and the removal of a segment must not close the file while it is written."""
        self.in_memory = asyncio.Lock()
        """Held while records of the spool are in memory. So a replay and a search never hold some at the same time; the
        sum of core/memory.py relies on it."""
        self._failures = FailureLog(log, works_again="spool_writes_again")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="spool-writer")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="spool-reader")
        metrics.spool_events.set_function(lambda: self.entries)
        metrics.spool_bytes.set_function(lambda: self.size)
        metrics.spool_limit_bytes.set(max_bytes)

    @classmethod
    def open(cls, directory: Path, metrics: Metrics, *, max_bytes: int, batch_bytes: int = _PROBE_BYTES) -> Self:
        """Lock a free slot and take over the segments of dead processes. Reads all segments, so call it in a thread.

        `check` requires room for `batch_bytes`. Raises SpoolUnusable.
        """
        try:
            slot = slots.take_slot(directory)
            slots.adopt(directory, slot)
            slot.found = slots.open_segments(slot, metrics)
        except OSError as error:
            raise SpoolUnusable(
                f"TRACKER_SPOOL_DIRECTORY: the directory {directory} is unusable: {error.strerror}. "
                "Set a directory on a volume that the tracker can write to."
            ) from error
        return cls(slot, metrics, max_bytes=max_bytes, batch_bytes=batch_bytes)

    @property
    def entries(self) -> int:
        """The number of events in the spool."""
        return sum(segment.entries for segment in self._segments)

    @property
    def size(self) -> int:
        """The size of all segments in bytes."""
        return sum(segment.size for segment in self._segments)

    @property
    def is_empty(self) -> bool:
        """Whether all records are acknowledged."""
        return all(segment.position >= segment.size for segment in self._segments)

    async def append(self, entries: Sequence[bytes], *, producer_id: str = "", sequence: int = 0) -> None:
        """Store a push; return when it is synced to disk. Raises NotSpooled.

        Without `producer_id` and `sequence`, the push gets the producer id of its segment and the next sequence. After
        a failed write the next push begins a new segment, since the content of the file on disk is unknown.
        """
        # Shielded: the caller may be cancelled, but a write that has begun must still be counted.
        try:
            async with asyncio.timeout(_WRITE_LIMIT_S):
                await asyncio.shield(self._append(entries, producer_id, sequence))
        except TimeoutError:
            raise NotSpooled("spool_failed", f"the disk did not respond within {_WRITE_LIMIT_S} s") from None

    async def _append(self, entries: Sequence[bytes], producer_id: str, sequence: int) -> None:
        async with self._writing:
            active, self._active = self._active, None
            room = self._max_bytes - self.size
            try:
                write = partial(self._write, active, entries, producer_id, sequence, room)
                segment, written = await self._run_in(self._writer, write)
            except _NoRoom as error:
                self._active = active  # nothing was written
                raise self._not_spooled(error) from error
            except OSError as error:
                raise self._not_spooled(error) from error
            self._failures.end()
            if segment.size == segments.FIRST_RECORD:
                self._segments.append(segment)
            segment.last_sequence += 1
            segment.size += written
            segment.entries += len(entries)
            self._active = segment

    async def read(self) -> list[SpoolRecord]:
        """Return the oldest unacknowledged records of one segment; none when the spool is empty."""
        while True:
            await self._remove_acknowledged()
            if self.is_empty:
                return []
            segment = self._segments[0]
            read = partial(
                segments.read_records,
                segment.file,
                segment.mark,
                segment.position,
                segment.size,
                max_bytes=_READ_BYTES,
            )
            try:
                found = await self._run_in(self._reader, read)
            except OSError as error:
                await self._set_aside(segment, error)
                continue
            self._count_damage(segment, found.damaged + found.torn)
            if found.records:
                return found.records
            segment.position = found.end

    async def scan(self, take: Callable[[str, bytes], None], *, part_bytes: int) -> AsyncIterator[None]:
        """Call `take` with each unacknowledged entry and the name of its segment, the oldest first. Change nothing.

        It yields after each part of about `part_bytes`, so that the caller can pause or stop. Records that Redis
        confirms meanwhile are left out. Raises OSError when reading the disk fails.
        """
        for segment in list(self._segments):
            offset = segment.position
            while segment in self._segments and offset < segment.size:
                async with self.in_memory:
                    offset = max(offset, segment.position)
                    if segment not in self._segments or offset >= segment.size:
                        break
                    # The reader's thread also closes the files of removed segments, so it closes none before this read.
                    read = partial(
                        segments.read_records, segment.file, segment.mark, offset, segment.size, max_bytes=part_bytes
                    )
                    part = await self._run_in(self._reader, read)
                    offset = part.end
                    for record in part.records:
                        for entry in record.push.entries:
                            take(segment.path.name, entry)
                    del part
                yield

    def acknowledge(self, record: SpoolRecord) -> None:
        """Mark the next record from `read` as confirmed by Redis."""
        segment = self._segments[0]
        segment.position = record.end
        segment.entries -= len(record.push.entries)

    async def save_position(self) -> None:
        """Save the read position, and remove acknowledged segments.

        The next process begins at the saved position, so it does not push earlier records again.
        """
        if self._segments:
            segment = self._segments[0]
            position = segments.encode_position(segment.position)
            with contextlib.suppress(OSError):  # after an error, records are pushed twice; Redis drops duplicates
                await self._run_in(self._reader, partial(segments.write_all, segment.file, position, 0))
        await self._remove_acknowledged()

    async def check(self) -> None:
        """Raise NotSpooled unless a batch of `batch_bytes` fits. After a failure, also test a write."""
        if await self._room() < self._batch_bytes + segments.FIRST_RECORD:
            raise NotSpooled("spool_full", f"the spool is full: {self.entries} events, {await self.describe_room()}")
        if self._failures.current is not None:
            try:
                await self._run_in(self._writer, self._probe)
            except OSError as error:
                raise self._not_spooled(error) from error
            self._failures.end()

    async def describe_room(self) -> str:
        """Return the free bytes of the spool as a text for readiness, or the error of the disk."""
        try:
            room = await self._room()
        except NotSpooled as error:
            return str(error)
        return f"room for {_mebibytes(room)} (a full-size batch takes {_mebibytes(self._batch_bytes)})"

    async def _room(self) -> int:
        """Return the free bytes of the spool, limited by TRACKER_SPOOL_BYTES and by the disk. Raises NotSpooled."""
        try:
            async with asyncio.timeout(_ROOM_LIMIT_S):
                disk = await self._run_in(self._reader, partial(shutil.disk_usage, self._slot.directory))
        except TimeoutError:
            raise NotSpooled("spool_failed", f"the disk did not respond within {_ROOM_LIMIT_S} s") from None
        except OSError as error:
            raise NotSpooled("spool_failed", f"reading the free space of the disk failed: {error.strerror}") from None
        return max(0, min(self._max_bytes - self.size, disk.free))

    async def aclose(self) -> None:
        """Close all files and unlock the slot. The next process takes over the events."""
        try:
            # A write may still run after the cancellation of its caller.
            await asyncio.wait_for(self._writing.acquire(), _WRITE_LIMIT_S)
        except TimeoutError:
            log.error("spool_hangs", events=self.entries)  # noqa: TRY400 - not a bug
            return  # the writer's thread uses the file until the disk responds or the process is killed
        self._writing.release()
        self._active = None
        await self._remove_acknowledged()
        self._failures.close()
        self._writer.shutdown()
        self._reader.shutdown()
        for segment in self._segments:
            os.close(segment.file)
        self._segments.clear()
        os.close(self._slot.lock)

    async def _run_in(self, executor: ThreadPoolExecutor, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(executor, work)

    def _write(
        self, segment: Segment | None, entries: Sequence[bytes], producer_id: str, sequence: int, room: int
    ) -> tuple[Segment, int]:
        """Write and sync one record, in the writer's thread. The caller updates the counts."""
        if segment is not None and segment.size >= _SEGMENT_BYTES:
            segment = None
        mark = secrets.token_bytes(segments.MARK_BYTES) if segment is None else segment.mark
        if not producer_id:
            # Each segment has its own producer id. Its sequences increase in the order of its records.
            producer_id, sequence = mark.hex(), 1 + (segment.last_sequence if segment is not None else 0)
        data = segments.encode_record(mark, producer_id, sequence, entries)
        if len(data) + segments.FIRST_RECORD > room:
            raise _NoRoom(errno.EDQUOT, "TRACKER_SPOOL_BYTES is used up")
        created = None
        try:
            if segment is None:
                segment = created = self._create_segment(mark)
            segments.write_all(segment.file, data, segment.size)
        except OSError:
            if segment is not None:
                with contextlib.suppress(OSError):
                    os.ftruncate(segment.file, segment.size)
            if created is not None:
                slots.remove_segment(created)
            raise
        return segment, len(data)

    def _create_segment(self, mark: bytes) -> Segment:
        path = self._slot.directory / segments.segment_name(self._next_order, mark)
        self._next_order += 1
        # With O_DSYNC, one system call writes and syncs. After a system call, this thread may wait for the GIL, because
        # the event loop holds it. So one call is faster than two.
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_DSYNC, 0o600)
        segment = Segment(path, file, mark, segments.FIRST_RECORD)
        try:
            segments.write_all(file, segments.encode_position(segments.FIRST_RECORD), 0)
            segments.sync_directory(self._slot.directory)
        except OSError:
            slots.remove_segment(segment)
            raise
        return segment

    def _probe(self) -> None:
        path = self._slot.directory / "probe"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            segments.write_all(file, bytes(_PROBE_BYTES), 0)
            os.fdatasync(file)
        finally:
            path.unlink(missing_ok=True)
            os.close(file)

    async def _remove_acknowledged(self) -> None:
        """Remove segments whose records are all acknowledged, except the one that a write uses."""
        while self._segments:
            segment = self._segments[0]
            if segment.position < segment.size or (self._writing.locked() and len(self._segments) == 1):
                return
            if segment is self._active:
                self._active = None
            self._segments.popleft()
            await self._run_in(self._reader, partial(slots.remove_segment, segment))

    async def _set_aside(self, segment: Segment, error: OSError) -> None:
        """Rename an unreadable segment, so that an operator finds it. `read` continues with the next segment."""
        log.error("spool_segment_unreadable", path=str(segment.path), events=segment.entries, error=error.strerror)
        self._metrics.spool_damaged.inc()
        async with self._writing:
            if segment is self._active:
                self._active = None
            self._segments.popleft()
        await self._run_in(self._reader, partial(slots.put_aside, segment))

    def _count_damage(self, segment: Segment, places: int) -> None:
        known = min(places, segment.known_damage)
        segment.known_damage -= known
        if places > known:
            self._metrics.spool_damaged.inc(places - known)
            log.error("spool_records_damaged", segment=segment.path.name, places=places - known)

    def _not_spooled(self, error: OSError) -> NotSpooled:
        full = error.errno in _NO_ROOM
        event = "spool_full" if full else "spool_failed"
        self._failures.begin(str(error.errno), event, error=error.strerror, events=self.entries)
        if full:
            return NotSpooled(event, f"the spool is full: {self.entries} events in {self.size} bytes")
        return NotSpooled(event, f"writing the spool failed: {error.strerror}")


def _mebibytes(size: int) -> str:
    return f"{size / 1_048_576:.1f} MiB"
