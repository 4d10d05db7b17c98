"""The program that `python3 tasks.py` becomes in the virtual environment: invoke, with hints for misspelt names."""

if __name__ == "__main__":
    from deploy import starting

    starting.exit_on_interrupt()
    starting.report_missing_packages()

import difflib
import os
import re
import sys
import tomllib
from collections.abc import Sequence
from itertools import pairwise

from invoke.exceptions import Exit, ParseError
from invoke.program import Program

from deploy.paths import ROOT
from deploy.starting import raised_interrupts


class PushProgram(Program):
    """Invoke's program, except that an unknown name is reported with the most similar known name."""

    def parse_tasks(self) -> None:
        """Parse the tasks and their flags. Raises ParseError, which invoke prints."""
        try:
            super().parse_tasks()
        except ParseError as error:
            raise ParseError(self._plainly(str(error), error.context), error.context) from None
        except ValueError as error:  # an invalid value for a number flag
            value = re.search(r"'(.*)'$", str(error))
            raise ParseError(f"{_flag_with(value[1]) if value else error}: not a number") from None

    def execute(self) -> None:
        """Run the tasks. Ctrl-C closes what they have opened, then the command exits with 130."""
        try:
            with raised_interrupts():
                super().execute()
        except KeyboardInterrupt:
            raise Exit(code=130) from None

    def _plainly(self, message: str, context: object) -> str:
        if without := re.search(r"Flag <Argument: ([\w-]+).*> needed value", message):
            return f"--{without[1].replace('_', '-')} needs a value"
        return message + self._hint(message, context)

    def _hint(self, message: str, context: object) -> str:
        unknown = re.search(r"No idea what '(.+)' is", message)
        if unknown is None:
            return ""
        flags = list(getattr(context, "flags", {}))
        known = flags if unknown[1].startswith("-") else sorted(self.collection.task_names)
        nearest = difflib.get_close_matches(unknown[1], known, n=1, cutoff=0.5)
        return f" Did you mean {nearest[0]}?" if nearest else " `python3 tasks.py --list` lists all tasks."


def _flag_with(value: str) -> str:
    """Return the flag of this command line that has this value, as typed."""
    words = sys.argv[1:]
    for flag, word in pairwise(words):
        if word == value and flag.startswith("-"):
            return f"{flag} {value}"
    return next((word for word in words if word.startswith("-") and word.endswith(value)), value)


def help_first(words: Sequence[str]) -> Sequence[str]:
    """Return `--help TASK` for `TASK --help`: after a task that needs an argument, invoke reads it as the argument."""
    is_asked = len(words) > 1 and words[-1] in ("-h", "--help") and not words[0].startswith("-")
    return ["--help", words[0]] if is_asked else words


def version() -> str:
    """Return the version of this clone."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def main() -> None:
    """Run the tasks named on the command line, from any working directory."""
    os.chdir(ROOT)
    PushProgram(name="push", version=version(), binary="python3 tasks.py", binary_names=["tasks.py", "inv"]).run(
        ["tasks.py", *help_first(sys.argv[1:])]
    )


if __name__ == "__main__":
    main()
