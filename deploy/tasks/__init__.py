"""The operators' tasks by group, and what all of them share: paths as typed, plain errors, exit codes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from invoke.exceptions import Exit

from deploy.errors import OperatorError


def exit_with(code: int) -> None:
    """End the command with this exit code, unless it is 0."""
    if code:
        raise Exit(code=code)


def path(text: str) -> Path:
    """Read a path as the caller meant it: `python3 tasks.py` moves to the repository and keeps where it was called."""
    return Path(os.environ.get("PUSH_DIRECTORY", "")) / Path(text).expanduser()


@contextmanager
def report_errors() -> Iterator[None]:
    """End with a sentence where an operator can act on it; other errors are ours, and show where they come from."""
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
