"""The directories of a stack: its data while it runs, and its logs."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TextIO

from deploy.paths import ROOT

_LOGS = ROOT / ".cache" / "logs"
_LOGS_KEPT = 10
_OWNER = "owner.lock"
_PREFIX = f"push-stack-{os.getuid()}-"


class Scratch:
    """A data folder, which is deleted at the end, and a log folder, which is kept for the newest ten stacks.

    A killed stack can't delete its data, so the next stack deletes it. The owner of a folder locks a file in it. The
    kernel releases the lock when the owner ends.
    """

    def __init__(self, *, keep_data: bool = False) -> None:
        _sweep_data()
        self.data = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._keep_data = keep_data
        self._owner = _lock(self.data)
        self.logs = _new_log_folder()
        self._owner_of_logs = _lock(self.logs)

    def close(self) -> None:
        """Delete the data unless `keep_data` is set."""
        if self._keep_data:
            (self.data / _OWNER).unlink(missing_ok=True)
        else:
            shutil.rmtree(self.data, ignore_errors=True)
        self._owner.close()
        (self.logs / _OWNER).unlink(missing_ok=True)
        self._owner_of_logs.close()


def _lock(folder: Path) -> TextIO:
    owner = (folder / _OWNER).open("w")
    fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return owner


def _sweep_data() -> None:
    for folder in Path(tempfile.gettempdir()).glob(_PREFIX + "*"):
        # A folder without a lock file is being created, or is kept on purpose.
        with contextlib.suppress(OSError), (folder / _OWNER).open() as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def _has_owner(folder: Path) -> bool:
    try:
        with (folder / _OWNER).open() as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _new_log_folder() -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    try:
        _LOGS.mkdir(parents=True, exist_ok=True)
        ended = [folder for folder in sorted(_LOGS.iterdir()) if not _has_owner(folder)]
        for old in ended[: -(_LOGS_KEPT - 1)]:
            shutil.rmtree(old, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=f"{stamp}-", dir=_LOGS))
    except OSError:  # this user cannot write to the clone
        return Path(tempfile.mkdtemp(prefix=f"push-logs-{stamp}-"))
