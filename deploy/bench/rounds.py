"""The rounds of a bench: their length, their number, alternating contenders, and progress output."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console

from deploy.bench.results import Round
from deploy.errors import OperatorError

Contender = Callable[[float], Round]
"""Runs one round of this many seconds."""


@dataclass(frozen=True)
class Effort:
    """The number of rounds and their length."""

    rounds: int = 5
    seconds: float = 5.0

    @property
    def is_brief(self) -> bool:
        """Whether only the number of lost events is meaningful."""
        return self.rounds * self.seconds < 5.0  # noqa: PLR2004 - too short for a median


BRIEF = Effort(rounds=1, seconds=1.0)
"""A single short round for CI: it only shows that no event is lost."""


def parse_effort(*, rounds: str, seconds: str, brief: bool) -> Effort:
    """Parse the flags. Raises OperatorError."""
    if brief:
        return BRIEF
    try:
        effort = Effort(int(rounds), float(seconds))
    except ValueError:
        raise OperatorError(f"--rounds {rounds} --seconds {seconds}: use numbers, for example 5 and 5.0") from None
    if not (1 <= effort.rounds <= 100 and 1.0 <= effort.seconds <= 300.0):  # noqa: PLR2004 - limits
        raise OperatorError("use --rounds from 1 to 100 and --seconds from 1 to 300")
    return effort


def in_turns(contenders: Mapping[str, Contender], effort: Effort, console: Console) -> dict[str, list[Round]]:
    """Run the rounds of the contenders alternately (A B C A B C), so that a slow phase of the machine affects all."""
    found: dict[str, list[Round]] = {name: [] for name in contenders}
    for number in range(effort.rounds):
        for name, contender in contenders.items():
            with _reported(console, f"round {number + 1} of {effort.rounds}: {name}"):
                found[name].append(contender(effort.seconds))
    return found


@contextlib.contextmanager
def _reported(console: Console, what: str) -> Iterator[None]:
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        yield
