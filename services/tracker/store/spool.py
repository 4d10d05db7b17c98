"""Spool: pushes on disk, in order, until Redis takes them.

Promise: when `append` returns, the push outlives a kill of the process and a power cut, until it is settled. Disk is
touched in threads of its own, one for writing and one for reading, and the event loop alone keeps the books: no lock.

Each process writes to a slot, a sub-directory that it holds by flock; at start it also takes over the segments of slots
whose processes are gone. So several may share one directory, and what a dead one left is sent by the next.
"""

import asyncio
import contextlib
import errno
import os
import secrets
import shutil
from collections import deque
from collections.abc import Callable, Sequence
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

_SEGMENT_BYTES: Final = 16_777_216  # a segment that has grown to this is followed by a new one, and removed as a whole
_READ_BYTES: Final = 1_048_576  # what is read and pushed before the position is written again
_PROBE_BYTES: Final = 65_536
_WRITE_LIMIT_S: Final = 4.0  # a disk that hangs must hold up neither clients nor a stop
_ROOM_LIMIT_S: Final = 0.5  # readiness has two seconds
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

_Result = TypeVar("_Result")


class SpoolUnusable(Exception):
    """The directory can't hold a spool; the message says why."""


class NotSpooled(Exception):
    """The push is not on disk."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        """spool_full or spool_failed."""


class _NoRoom(OSError):
    """The record would take more than the spool may hold; nothing was tried."""


class Spool:
    """The spool of one process. `append` is called by one task at a time, and `read` and what follows by one other."""

    def __init__(self, slot: Slot, metrics: Metrics, *, max_bytes: int, batch_bytes: int) -> None:
        """Use `Spool.open`."""
        self._slot = slot
        self._metrics = metrics
        self._max_bytes = max_bytes
        self._batch_bytes = batch_bytes
        self._segments = deque(slot.found)
        self._next_order = 1 + max((slots.order_of(segment.path) for segment in slot.found), default=0)
        self._active: Segment | None = None
        self._writing = asyncio.Lock()
        """Held while a file is written to: it must not be closed then."""
        self._failures = FailureLog(log, works_again="spool_writes_again")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="spool-writer")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="spool-reader")
        metrics.spool_events.set_function(lambda: self.entries)
        metrics.spool_bytes.set_function(lambda: self.size)
        metrics.spool_limit_bytes.set(max_bytes)

    @classmethod
    def open(cls, directory: Path, metrics: Metrics, *, max_bytes: int, batch_bytes: int = _PROBE_BYTES) -> Self:
        """Take a free slot and what dead processes left in theirs. Reads all that is there: call it in a thread.

        `check` wants room for `batch_bytes`.

        Raises SpoolUnusable.
        """
        try:
            slot = slots.take_slot(directory)
            slots.adopt(directory, slot)
            slot.found = slots.open_segments(slot, metrics)
        except OSError as error:
            raise SpoolUnusable(f"TRACKER_SPOOL_DIRECTORY {directory} can't be used: {error.strerror}") from error
        return cls(slot, metrics, max_bytes=max_bytes, batch_bytes=batch_bytes)

    @property
    def entries(self) -> int:
        """How many events wait here."""
        return sum(segment.entries for segment in self._segments)

    @property
    def size(self) -> int:
        """How many bytes the segments take."""
        return sum(segment.size for segment in self._segments)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return all(segment.position >= segment.size for segment in self._segments)

    async def append(self, entries: Sequence[bytes], *, producer_id: str = "", sequence: int = 0) -> None:
        """Return once the push is on disk. Without `pusher` and `sequence` it gets some of its own. Raises NotSpooled.

        What fails leaves nothing behind that counts, and the next one begins a new segment: after a failed sync
        nobody knows what of the file is on disk.
        """
        # Shielded: whoever waits may give up, but a write that has begun must still be entered in the books.
        try:
            async with asyncio.timeout(_WRITE_LIMIT_S):
                await asyncio.shield(self._append(entries, producer_id, sequence))
        except TimeoutError:
            raise NotSpooled("spool_failed", f"the disk did not answer within {_WRITE_LIMIT_S} s") from None

    async def _append(self, entries: Sequence[bytes], producer_id: str, sequence: int) -> None:
        async with self._writing:
            active, self._active = self._active, None
            room = self._max_bytes - self.size
            try:
                write = partial(self._write, active, entries, producer_id, sequence, room)
                segment, written = await self._in(self._writer, write)
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
        """Return the oldest records, of one segment, that are not settled; none when nothing waits."""
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
                found = await self._in(self._reader, read)
            except OSError as error:
                await self._set_aside(segment, error)
                continue
            self._count_damage(segment, found.damaged + found.torn)
            if found.records:
                return found.records
            segment.position = found.end

    def acknowledge(self, record: SpoolRecord) -> None:
        """Say that Redis has a record, which is the next of those that were read."""
        segment = self._segments[0]
        segment.position = record.end
        segment.entries -= len(record.push.entries)

    async def save_position(self) -> None:
        """Write down what is settled, so that the next process does not send it again, and remove what is done with."""
        if self._segments:
            segment = self._segments[0]
            position = segments.encode_position(segment.position)
            with contextlib.suppress(OSError):  # then Redis refuses by its sequence what is sent again
                await self._in(self._reader, partial(segments.write_all, segment.file, position, 0))
        await self._remove_acknowledged()

    async def check(self) -> None:
        """Raise NotSpooled unless a batch of `batch_bytes` fits. After a failure it tries to write."""
        if await self._room() < self._batch_bytes + segments.FIRST_RECORD:
            raise NotSpooled("spool_full", f"the spool is full: {self.entries} events, {await self.describe_room()}")
        if self._failures.current is not None:
            try:
                await self._in(self._writer, self._probe)
            except OSError as error:
                raise self._not_spooled(error) from error
            self._failures.end()

    async def describe_room(self) -> str:
        """Say how much the spool can take, for readiness."""
        try:
            room = await self._room()
        except NotSpooled as error:
            return str(error)
        return f"which has room for {_mebibytes(room)} (a full-size batch takes {_mebibytes(self._batch_bytes)})"

    async def _room(self) -> int:
        """Return how many bytes the spool can take, by its limit and by what its disk has free. Raises NotSpooled."""
        try:
            async with asyncio.timeout(_ROOM_LIMIT_S):
                disk = await self._in(self._reader, partial(shutil.disk_usage, self._slot.directory))
        except TimeoutError:
            raise NotSpooled("spool_failed", f"the disk did not answer within {_ROOM_LIMIT_S} s") from None
        except OSError as error:
            raise NotSpooled("spool_failed", f"the spool can't be read: {error.strerror}") from None
        return max(0, min(self._max_bytes - self.size, disk.free))

    async def aclose(self) -> None:
        """Close all files and leave the slot; what waits stays for the next process."""
        try:
            # The caller of a write under way may have been cancelled.
            await asyncio.wait_for(self._writing.acquire(), _WRITE_LIMIT_S)
        except TimeoutError:
            log.error("spool_hangs", events=self.entries)  # noqa: TRY400 - not a bug
            return  # its thread holds the file, until the disk answers or the process is killed
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

    async def _in(self, executor: ThreadPoolExecutor, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(executor, work)

    def _write(
        self, segment: Segment | None, entries: Sequence[bytes], producer_id: str, sequence: int, room: int
    ) -> tuple[Segment, int]:
        """Write and sync one record. In the writer's thread; the books are the caller's."""
        if segment is not None and segment.size >= _SEGMENT_BYTES:
            segment = None
        mark = secrets.token_bytes(segments.MARK_BYTES) if segment is None else segment.mark
        if not producer_id:
            # One pusher a segment: its numbers go up as its records do, and no direct push ever uses it.
            producer_id, sequence = mark.hex(), 1 + (segment.last_sequence if segment is not None else 0)
        data = segments.encode_record(mark, producer_id, sequence, entries)
        if len(data) + segments.FIRST_RECORD > room:
            raise _NoRoom(errno.EDQUOT, "TRACKER_SPOOL_BYTES are used up")
        made = None
        try:
            if segment is None:
                segment = made = self._make_segment(mark)
            segments.write_all(segment.file, data, segment.size)
        except OSError:
            if segment is not None:
                with contextlib.suppress(OSError):
                    os.ftruncate(segment.file, segment.size)
            if made is not None:
                slots.remove_segment(made)
            raise
        return segment, len(data)

    def _make_segment(self, mark: bytes) -> Segment:
        path = self._slot.directory / segments.segment_name(self._next_order, mark)
        self._next_order += 1
        # O_DSYNC: written and synced in one call, since each call may wait its turn behind the event loop's thread.
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
        """Remove segments whose records are all settled, except one that is being written to."""
        while self._segments:
            segment = self._segments[0]
            if segment.position < segment.size or (self._writing.locked() and len(self._segments) == 1):
                return
            if segment is self._active:
                self._active = None
            self._segments.popleft()
            await self._in(self._reader, partial(slots.remove_segment, segment))

    async def _set_aside(self, segment: Segment, error: OSError) -> None:
        """Leave a file that the disk does not give back to an operator, and go on with the next."""
        log.error("spool_segment_unreadable", path=str(segment.path), events=segment.entries, error=error.strerror)
        self._metrics.spool_damaged.inc()
        async with self._writing:
            if segment is self._active:
                self._active = None
            self._segments.popleft()
        await self._in(self._reader, partial(slots.put_aside, segment))

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
        return NotSpooled(event, f"the spool can't be written: {error.strerror}")


def _mebibytes(size: int) -> str:
    return f"{size / 1_048_576:.1f} MiB"
