"""The operators' tasks by group, and their shared code: relative paths, error reports, exit codes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from invoke.exceptions import Exit

from deploy.errors import OperatorError


def exit_with(code: int) -> None:
    """End the task with this exit code, unless it is 0."""
    if code:
        raise Exit(code=code)


def path(text: str) -> Path:
    """Return a path relative to the caller's directory: `python3 tasks.py` changes to the repository and records it."""
    return Path(os.environ.get("PUSH_DIRECTORY", "")) / Path(text).expanduser()


@contextmanager
def report_errors() -> Iterator[None]:
    """Report an OperatorError or a file error in a sentence. Other exceptions are bugs and keep their traceback."""
    try:
        yield
    except OperatorError as error:
        raise Exit(str(error), code=1) from None
    except OSError as error:
        if error.filename is None:
            raise
        raise Exit(f"{error.filename}: {error.strerror}", code=1) from None
    except KeyboardInterrupt:
        raise Exit(code=130) from None
