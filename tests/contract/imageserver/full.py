"""An imageserver whose volume is full at one call. Argument: a file with the number of calls that succeed before."""

import errno
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from services.backbone.process import load_settings, run_until_stopped
from services.imageserver.settings import Settings
from services.imageserver.store import volume
from tests.contract.imageserver.doomed import WRITING, serve

NEVER = -1


def full_os(calls_left: Path) -> Any:
    """Return the module `os` whose call of a write fails once, after so many calls as the file contains."""

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            left = int(calls_left.read_text())
            if left != NEVER:
                calls_left.write_text(str(left - 1))
            if left == 0:
                if call is os.close:  # the kernel closes the file all the same
                    call(*arguments)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return call(*arguments, **options)

        return run

    return SimpleNamespace(**{**vars(os), **{name: counted(getattr(os, name)) for name in WRITING}})


if __name__ == "__main__":
    vars(volume)["os"] = full_os(Path(sys.argv[1]))
    loaded = load_settings(Settings, os.environ)
    run_until_stopped(partial(serve, loaded), loaded, service="imageserver")
