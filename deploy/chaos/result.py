"""What a chaos run came to, and what of it must not be."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.table import Table


class ChaosResult(NamedTuple):
    """What one run came to."""

    seed: int
    acknowledged: int
    """Ids that were answered 2xx."""
    lost: int
    """Of these, those that are neither in the topic nor in the dead letters."""
    duplicates: int
    """Records in the topic beyond the first of each id."""
    dead: int
    refused_503: int
    broken: int
    """Attempts that got no response."""
    unexpected: int
    """Answers that there should be none of."""
    accepted: int
    produced: int
    waiting: int
    unaccounted: int
    unconfirmed: int
    """What the books call produced or dead and the topics do not hold."""
    unique: int
    """Ids in the topic."""
    counted: int
    """Sum of event_counter's counts."""
    drained: bool
    """Whether everything came to rest in time."""
    longest_drain_s: float
    """The longest time from the end of a fault until no more waited than comes in a second."""
    faults: Mapping[str, int]
    skipped: Mapping[str, str]
    """Faults that can't be played here, and why."""
    died: Sequence[str]
    """Processes that ended by themselves."""
    seconds: float

    @property
    def complaints(self) -> list[str]:
        """What must not be, in sentences; none when all is well."""
        faults = {
            f"{self.lost:,} answered events are lost": self.lost,
            f"the books do not balance: {self.unaccounted:,} unaccounted for": self.unaccounted,
            f"{self.unconfirmed:,} events are in the books and not in Kafka": self.unconfirmed,
            f"{self.waiting:,} events still wait": self.waiting,
            "not everything came to rest in time": not self.drained,
            f"event_counter counted {self.counted:,}, and the topic holds {self.unique:,} ids": (
                self.counted != self.unique
            ),
            f"{self.unexpected:,} answers were neither 2xx nor 503": self.unexpected,
            "; ".join(self.died): len(self.died),
        }
        return [sentence for sentence, is_so in faults.items() if is_so]

    @property
    def exit_code(self) -> int:
        """0 when nothing was lost and the books balance."""
        return 1 if self.complaints else 0


def result_table(result: ChaosResult) -> Table:
    """Lay the result out for a terminal."""
    table = Table(box=None, show_header=False)
    for name, value in result._asdict().items():
        if isinstance(value, Mapping):
            lines = [f"{key}: {one}" for key, one in value.items()]
            table.add_row(name, "\n".join(lines) or "none")
        elif isinstance(value, tuple):
            table.add_row(name, "\n".join(value) or "none")
        elif isinstance(value, bool):
            table.add_row(name, "yes" if value else "no")
        else:
            table.add_row(name, str(value) if name == "seed" else f"{value:,}")
    return table
