"""Volume: the files of assets below one directory, which all replicas share.

A file gets a fresh random name, is written once, and is published when it is complete on the volume. A name is looked
up only after that, and never used again. So the caches of a network file system cannot return an old state: neither
missing names nor attributes nor contents of an earlier file. The directories exist before any replica looks into one.
"""

import contextlib
import errno
import itertools
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from services.imageserver.core.assets import NAME_CHARACTERS, file_name
from services.imageserver.core.sizes import MEDIA_TYPES, SIZES, ImageType, SizeName

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_COPIED_BYTES: Final = 1_048_576
_LISTED_FILES: Final = 500
"""NFS may ask the server for the time of each file. So many are within the time limit of a call."""
_CLOCK_NAME: Final = "clock"
DIRECTORIES: Final = tuple(f"{number:02x}" for number in range(256))


class FileGone(Exception):
    """A file does not exist, or it has another size than its document states."""


class ListedFile(NamedTuple):
    """A file of an asset, or of an upload that was not published."""

    path: str
    """Its path below the root."""
    name: str
    """The random name of its asset."""
    modified_s: float


def is_full(error: OSError) -> bool:
    """Return whether a write failed because the filesystem, the quota or the limit of a file is exhausted."""
    return error.errno in _FULL


def new_name() -> str:
    """Return a random name of 128 bits."""
    return secrets.token_hex(NAME_CHARACTERS // 2)


class Volume:
    """The files. Each method blocks: call it by `VolumeThreads`. All raise OSError while the volume fails."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def create(self) -> None:
        """Create the directories of all names, unless they exist. Call it before any other method.

        An NFS client that looked for a directory before it exists does not see it for 30 s.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        for directory in DIRECTORIES:
            (self._root / directory).mkdir(exist_ok=True)
        _sync_directory(self._root)

    def write(self, source: Path, name: str, size: SizeName, image_type: ImageType) -> None:
        """Write a file, and return when it is on the volume. See `is_full` for its errors.

        A file that could not be written completely is removed. Network file systems report a full volume as late as at
        fsync or close, so the result of each call counts.
        """
        target = self._root / file_name(name, size, image_type)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            try:
                _copy(source, descriptor)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            _sync_directory(target.parent)
        except OSError:
            with contextlib.suppress(OSError):
                target.unlink()
            raise

    def read(self, path: str, start: int, length: int, *, size: int) -> bytes:
        """Return a part of a file of `size` bytes. Raises FileGone."""
        try:
            descriptor = os.open(self._root / path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                part = os.pread(descriptor, length, start)
                is_whole = os.fstat(descriptor).st_size == size and len(part) == length
            finally:
                os.close(descriptor)
        except OSError as error:
            # A file that another client of a network file system removes while it is open is stale.
            if error.errno in (errno.ENOENT, errno.ESTALE):
                raise FileGone(path) from error
            raise
        if not is_whole:
            raise FileGone(path)
        return part

    def remove(self, name: str) -> None:
        """Remove all files of a name that is not published. Missing ones are no error."""
        for size in SIZES:
            for image_type in MEDIA_TYPES:
                (self._root / file_name(name, size, image_type)).unlink(missing_ok=True)

    def touch(self, paths: Mapping[SizeName, Mapping[ImageType, int]], name: str) -> None:
        """Set the time of the files of a deleted asset to now. They are removed when their last readers have ended."""
        for size, types in paths.items():
            for image_type in types:
                with contextlib.suppress(FileNotFoundError):
                    os.utime(self._root / file_name(name, size, image_type))

    def list(self, directory: str) -> Iterator[list[ListedFile]]:
        """Yield the files in one of `DIRECTORIES`, up to 500 at a time. Each step blocks.

        Other names are left out, such as `.nfs*` of open files.
        """
        listed = self._list(directory)
        while piece := list(itertools.islice(listed, _LISTED_FILES)):
            yield piece

    def _list(self, directory: str) -> Iterator[ListedFile]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self._root / directory) as entries:
            for entry in entries:
                name = entry.name.partition(".")[0]
                if len(name) == NAME_CHARACTERS:
                    with contextlib.suppress(FileNotFoundError):
                        yield ListedFile(f"{directory}/{entry.name}", name, entry.stat().st_mtime)

    def exists(self, path: str) -> bool:
        """Return whether a file exists. It opens the file, since a listing of a network file system may be old."""
        try:
            os.close(os.open(self._root / path, os.O_RDONLY | os.O_CLOEXEC))
        except FileNotFoundError:
            return False
        return True

    def remove_file(self, path: str) -> None:
        """Remove a file. A missing one is no error."""
        (self._root / path).unlink(missing_ok=True)

    def now_s(self) -> float:
        """Return the time of the volume, which may have another clock than this machine.

        It writes a file, always the same one, so that a process that is killed here leaves no further file.
        """
        clock = self._root / _CLOCK_NAME
        clock.write_bytes(b"\n")
        return clock.stat().st_mtime

    def space(self) -> tuple[int, int]:
        """Return the size of the volume and its free bytes."""
        found = os.statvfs(self._root)
        return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


def _copy(source: Path, descriptor: int) -> None:
    with source.open("rb", buffering=0) as file:
        while piece := file.read(_COPIED_BYTES):
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(descriptor, rest) :]


def _sync_directory(directory: Path) -> None:
    """Make the names in a directory survive a crash of the machine."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
