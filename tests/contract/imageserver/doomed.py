"""An imageserver that kills itself after the N-th system call on its volume. Argument: N."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

from services.backbone.process import load_settings, run_until_stopped
from services.imageserver.app import SweepLoop, run
from services.imageserver.settings import Settings
from services.imageserver.store import volume

WRITING = ("open", "write", "fsync", "close")


def doomed_os(last: int) -> Any:
    """Return the module `os` whose process dies after so many calls that write a file."""
    calls = 0

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            result = call(*arguments, **options)
            calls += 1
            if calls == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return run

    return SimpleNamespace(**{**vars(os), **{name: counted(getattr(os, name)) for name in WRITING}})


async def nothing(*_: object) -> str:
    return ""


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve without sweeps: a process that is killed in one would keep its lease."""

    async def wait() -> None:
        await stop.wait()

    async def refresh_no_metrics() -> None:
        pass

    await run(settings, stop, lambda *_: SweepLoop(wait, lambda: None, nothing, refresh_no_metrics))


if __name__ == "__main__":
    vars(volume)["os"] = doomed_os(int(sys.argv[1]))
    loaded = load_settings(Settings, os.environ)
    run_until_stopped(partial(serve, loaded), loaded, service="imageserver")
