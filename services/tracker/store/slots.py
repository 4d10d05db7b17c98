"""Slots: subdirectories of the spool's directory, each locked by one process, and the segments in them."""

import contextlib
import fcntl
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from services.backbone.logs import get_logger
from services.tracker.metrics import Metrics
from services.tracker.store import segments

log = get_logger(__name__)

_LOCK_NAME: Final = "lock"
_UNREADABLE_SUFFIX: Final = ".unreadable"


@dataclass(slots=True, eq=False)
class Segment:
    """An open segment and the state of its content, as this process knows it."""

    path: Path
    file: int
    mark: bytes
    size: int
    """The end of the last synced record."""
    position: int = segments.FIRST_RECORD
    """The start of the first record that is not acknowledged."""
    entries: int = 0
    """The number of entries in records that are not acknowledged."""
    last_sequence: int = 0
    known_damage: int = 0
    """Damaged ranges that were counted when the spool was opened and are not read yet."""


@dataclass(slots=True, eq=False)
class Slot:
    """A subdirectory that this process has locked, with the segments of earlier processes."""

    directory: Path
    lock: int
    found: list[Segment] = field(default_factory=list)


def order_of(path: Path) -> int:
    """Return a segment's order number."""
    read = segments.read_name(path.name)
    return read[0] if read else 0


def segment_paths(directory: Path) -> list[Path]:
    """List the segments of a slot, the oldest first."""
    return sorted(path for path in directory.iterdir() if segments.read_name(path.name))


def take_slot(directory: Path) -> Slot:
    """Lock the first free slot; create one when all are locked."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    number = 0
    while True:
        lock = _lock(directory / f"slot-{number:03}")
        if lock is not None:
            return Slot(directory / f"slot-{number:03}", lock)
        number += 1


def _lock(slot: Path) -> int | None:
    """Return the open lock file of a slot; None when another process has locked it."""
    if not slot.exists():
        slot.mkdir(mode=0o700, exist_ok=True)
        segments.sync_directory(slot.parent)
    lock = os.open(slot / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def adopt(directory: Path, slot: Slot) -> None:
    """Move the segments of free slots to the end of this slot."""
    order = 1 + max(map(order_of, segment_paths(slot.directory)), default=0)
    for other in sorted(directory.glob("slot-*")):
        if other == slot.directory or (lock := _lock(other)) is None:
            continue
        try:
            for path in segment_paths(other):
                read = segments.read_name(path.name)
                if read is not None:
                    path.rename(slot.directory / segments.segment_name(order, read[1]))
                    order += 1
            segments.sync_directory(slot.directory)
            segments.sync_directory(other)
        finally:
            os.close(lock)


def open_segment(path: Path, metrics: Metrics) -> Segment:
    """Open a segment of an earlier process, count its entries, and truncate an incomplete record."""
    read = segments.read_name(path.name)
    mark = read[1] if read else b""
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(file).st_size
        begin = segments.read_position(file)
        counted = segments.count_entries(file, mark, begin, size)
    except OSError:
        os.close(file)
        raise
    if counted.torn:
        metrics.spool_torn.inc()
        log.warning("spool_record_torn", segment=path.name)
        os.ftruncate(file, counted.end)
    if counted.damaged:
        metrics.spool_damaged.inc(counted.damaged)
        log.error("spool_records_damaged", segment=path.name, places=counted.damaged)
    return Segment(path, file, mark, counted.end, begin, counted.entries, known_damage=counted.damaged)


def open_segments(slot: Slot, metrics: Metrics) -> list[Segment]:
    """Open all segments of a slot in order. Log and rename a segment that the disk fails to read."""
    opened: list[Segment] = []
    for path in segment_paths(slot.directory):
        try:
            opened.append(open_segment(path, metrics))
        except OSError as error:
            log.error("spool_segment_unreadable", path=str(path), error=error.strerror)  # noqa: TRY400 - not a bug
            metrics.spool_damaged.inc()
            with contextlib.suppress(OSError):
                path.rename(path.with_name(path.name + _UNREADABLE_SUFFIX))
    return opened


def remove_segment(segment: Segment) -> None:
    """Remove a segment whose records are all acknowledged."""
    with contextlib.suppress(OSError):  # the next process pushes it again, and Redis drops the duplicates
        segment.path.unlink()
    os.close(segment.file)


def put_aside(segment: Segment) -> None:
    """Rename an unreadable segment, so that no process reads it again and an operator finds it."""
    with contextlib.suppress(OSError):
        segment.path.rename(segment.path.with_name(segment.path.name + _UNREADABLE_SUFFIX))
    os.close(segment.file)
