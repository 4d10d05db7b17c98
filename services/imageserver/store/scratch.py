"""The local directory of a process for uploads in work."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def scratch_directory(scratch: Path) -> Iterator[Path]:
    """Make a directory below `scratch` while the block runs, and remove those of processes that were killed.

    All are in one directory, in which the imageserver of this user alone writes. A process locks its own one. The
    kernel frees the lock when the process ends, whatever its id was. Raises PermissionError if another user owns the
    directory of all.
    """
    parent = scratch / f"push-imageserver-uploads-{os.getuid()}"
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if parent.is_symlink() or parent.stat().st_uid != os.getuid():
        raise PermissionError(f"{parent} belongs to another user. Remove it, or set IMAGESERVER_SCRATCH.")
    with contextlib.ExitStack() as stack:
        with _locked(parent):  # so that no other process finds the own directory before it is locked
            for found in parent.iterdir():
                _remove_if_free(found)
            own = Path(tempfile.mkdtemp(dir=parent))
            stack.callback(shutil.rmtree, own, ignore_errors=True)
            stack.enter_context(_locked(own))
        yield own


def _remove_if_free(directory: Path) -> None:
    with contextlib.suppress(BlockingIOError, FileNotFoundError), _locked(directory, fcntl.LOCK_NB):
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _locked(directory: Path, flags: int = 0) -> Iterator[None]:
    """Lock a directory, which no child process inherits. With LOCK_NB, raises BlockingIOError if it is locked."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
        yield
    finally:
        os.close(descriptor)
