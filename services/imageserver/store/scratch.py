"""The local directory of a process for uploads in work."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_PREFIX: Final = "push-images-"


@contextlib.contextmanager
def scratch_directory(parent: Path) -> Iterator[Path]:
    """Make a directory below `parent` while the block runs. Those of processes that were killed are removed."""
    own = parent / f"{_PREFIX}{os.getpid()}"
    parent.mkdir(parents=True, exist_ok=True)
    for found in parent.glob(f"{_PREFIX}*"):
        # The directory of a container survives its process, and the next one often has the same id.
        if found == own or not Path("/proc", found.name.removeprefix(_PREFIX)).exists():
            shutil.rmtree(found, ignore_errors=True)
    own.mkdir(mode=0o700)
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
