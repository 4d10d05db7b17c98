"""How every bench goes: how long, how often, in turns, with something to look at meanwhile."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console

from deploy.bench.results import Round
from deploy.errors import OperatorError

Contender = Callable[[float], Round]
"""Does one round of so many seconds."""


@dataclass(frozen=True)
class Effort:
    """How long and how often."""

    rounds: int = 5
    seconds: float = 5.0

    @property
    def is_brief(self) -> bool:
        """Whether the figures are good for nothing but `lost`."""
        return self.rounds * self.seconds < 5.0  # noqa: PLR2004 - a median of a few seconds tells little here


BRIEF = Effort(rounds=1, seconds=1.0)
"""Enough to see that nothing is lost; for CI."""


def parse_effort(*, rounds: str, seconds: str, brief: bool) -> Effort:
    """Read what the operator asked for. Raises OperatorError."""
    if brief:
        return BRIEF
    try:
        effort = Effort(int(rounds), float(seconds))
    except ValueError:
        raise OperatorError(f"--rounds {rounds} --seconds {seconds}: they are numbers, such as 5 and 5.0") from None
    if not (1 <= effort.rounds <= 100 and 1.0 <= effort.seconds <= 300.0):  # noqa: PLR2004 - what anybody can want
        raise OperatorError("--rounds is 1 to 100, --seconds 1 to 300")
    return effort


def in_turns(contenders: Mapping[str, Contender], effort: Effort, console: Console) -> dict[str, list[Round]]:
    """Let the contenders do their rounds in turn, A B C A B C, so that what the machine does meanwhile meets all."""
    found: dict[str, list[Round]] = {name: [] for name in contenders}
    for number in range(effort.rounds):
        for name, contender in contenders.items():
            with _told(console, f"round {number + 1} of {effort.rounds}: {name}"):
                found[name].append(contender(effort.seconds))
    return found


@contextlib.contextmanager
def _told(console: Console, what: str) -> Iterator[None]:
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        yield
