"""Place: what a worker process is told by the supervisor that starts it, as the arguments of its command."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

_WORD: Final = "worker"


@dataclass(frozen=True, slots=True)
class Place:
    """Which of the workers a process is, and how it is connected."""

    number: int
    """From 1 on; a worker's successor has the same."""
    channel: int
    """The file descriptor of its end of the channel."""
    figures: Path
    """The directory where it counts."""

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> Self:
        """Read what `arguments` wrote. Raises ValueError."""
        word, number, channel, figures = arguments
        if word != _WORD:
            raise ValueError(f"{word!r} is not {_WORD!r}")
        return cls(int(number), int(channel), Path(figures))

    def arguments(self) -> list[str]:
        """Return the arguments of a worker's command."""
        return [_WORD, str(self.number), str(self.channel), str(self.figures)]
