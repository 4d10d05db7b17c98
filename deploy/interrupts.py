"""Convert signals that end a program into exceptions, so that `with` blocks are left in order."""

import asyncio
import signal
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TypeVar

_Result = TypeVar("_Result")
_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into SystemExit(128 + number), as Python turns SIGINT into KeyboardInterrupt.

    Does nothing outside the main thread, where Python allows no signal handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _exit) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_interruptible(main: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine like asyncio.run, but cancel it at SIGTERM and SIGHUP too, so that it can clean up.

    Then raise SystemExit(128 + number). Call it from the main thread.
    """
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in _ENDING}

    async def supervised() -> _Result:
        task = asyncio.ensure_future(main)

        def end(number: int) -> None:
            received.append(number)
            task.cancel()

        for number in _ENDING:
            asyncio.get_running_loop().add_signal_handler(number, end, number)
        return await task

    try:
        return asyncio.run(supervised())
    except asyncio.CancelledError:
        if received:
            raise SystemExit(128 + received[0]) from None
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore signals that end the program while the block, which must be short, cleans up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, *_ENDING)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
