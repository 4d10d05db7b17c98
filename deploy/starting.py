"""The start of a command: Ctrl-C ends it without a traceback, and a missing package is reported on one line.

The module uses only the standard library and the syntax of Python 3.6, because bootstrap.py imports it.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

_OURS = {"deploy", "services", "tasks", "tests"}


def exit_on_interrupt() -> None:
    """Exit with 130 at SIGINT, and accept a SIGINT that came while this interpreter started.

    The process exits directly: an import can print or discard a KeyboardInterrupt that is raised inside it. A SIGINT
    that is ignored (nohup) stays ignored.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def hold_interrupts() -> None:
    """Keep a SIGINT pending, also over exec, until exit_on_interrupt() is called."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


@contextlib.contextmanager
def raised_interrupts() -> "Iterator[None]":
    """Raise KeyboardInterrupt at SIGINT inside the block, so that the block can close its resources."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def report_missing_packages() -> None:
    """Print one line, in place of a traceback, when the process ends because a package can't be imported."""
    sys.excepthook = _print_exception


def _print_exception(kind: "type[BaseException]", error: BaseException, traceback: "TracebackType | None") -> None:
    package = _missing(error)
    if package:
        sys.stderr.write(
            f'The package "{package}" is missing or incomplete in .venv. Delete .venv and run the command again.\n'
        )
    else:
        sys.__excepthook__(kind, error, traceback)


def _missing(error: BaseException) -> str:
    """Return the missing package of an import error; empty for any other error."""
    if isinstance(error, ImportError):
        package = (error.name or "").partition(".")[0]
        return "" if package in _OURS or package in sys.stdlib_module_names else package
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        program = Path(os.fsdecode(error.filename))
        return program.name if program.parent == Path(sys.executable).parent else ""
    return ""
