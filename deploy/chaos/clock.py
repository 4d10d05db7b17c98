"""Clocks that can be set: Debian's libfaketime, told by a file what a process shall take for the time."""

import contextlib
from pathlib import Path

_LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the library leaves its files


def find_library() -> Path | None:
    """Return libfaketime's library for programs with threads; None where the package `faketime` is not installed."""
    for pattern in _LIBRARIES:
        for found in Path("/").glob(pattern.removeprefix("/")):
            return found
    return None


class Clock:
    """The wall clock of one process; its monotonic clock goes on as it does when a machine's clock is set."""

    def __init__(self, library: Path, file: Path) -> None:
        """Read the time from the file within a second of each change."""
        self._library = library
        self._file = file
        self.step(0)

    @property
    def environment(self) -> dict[str, str]:
        """What the process must be started with."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def step(self, seconds: int) -> None:
        """Set it that much ahead of the machine's clock, or behind it."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        fresh.replace(self._file)


def remove_leftovers(pid: int) -> None:
    """Remove what the library keeps in shared memory for a process that was killed and could not do it itself."""
    for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        with contextlib.suppress(OSError):
            (_SHARED_MEMORY / name).unlink()
