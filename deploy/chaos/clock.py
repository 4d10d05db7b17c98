"""Adjustable clocks: Debian's libfaketime, which reads the time of a process from a file."""

import contextlib
from pathlib import Path

_LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the library's directory


def find_library() -> Path | None:
    """Return the path of libfaketime for threaded programs, or None when the package `faketime` is not installed."""
    for pattern in _LIBRARIES:
        for found in Path("/").glob(pattern.removeprefix("/")):
            return found
    return None


class Clock:
    """The wall clock of one process. Its monotonic clock is not changed."""

    def __init__(self, library: Path, file: Path) -> None:
        """Write the clock's time to `file`, which the process reads within a second of each change."""
        self._library = library
        self._file = file
        self.step(0)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of the process."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def step(self, seconds: int) -> None:
        """Set the clock ahead of the machine's clock by `seconds`. A negative number sets it behind."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        fresh.replace(self._file)


def remove_leftovers(pid: int) -> None:
    """Delete the files in shared memory that libfaketime created for a killed process."""
    for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        with contextlib.suppress(OSError):
            (_SHARED_MEMORY / name).unlink()
