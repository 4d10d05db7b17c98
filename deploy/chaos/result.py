"""The result of a chaos run, and the failures in it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.table import Table


class ChaosResult(NamedTuple):
    """The result of one run."""

    seed: int
    acknowledged: int
    """Ids of events with a 2xx response."""
    lost: int
    """Acknowledged ids that are neither in the topic nor in the dead letters."""
    duplicates: int
    """Records in the topic beyond the first of each id."""
    dead: int
    refused_503: int
    broken: int
    """Attempts without a response."""
    unexpected: int
    """Responses that must not occur."""
    accepted: int
    produced: int
    waiting: int
    unaccounted: int
    unconfirmed: int
    """Events that the ledger counts as produced or dead, but that are not in the topics."""
    unique: int
    """Ids in the topic."""
    counted: int
    """The sum of the counts of event_counter."""
    is_at_rest: bool
    """Whether, within the time limit, the queue was empty and all events were counted."""
    longest_drain_s: float
    """The longest recovery: from the end of a fault until the queue holds fewer events than arrive in one second."""
    faults: Mapping[str, int]
    skipped: Mapping[str, str]
    """Faults that can't be injected here, and why."""
    died: Sequence[str]
    """Processes that ended unexpectedly."""
    seconds: float

    @property
    def complaints(self) -> list[str]:
        """The failures as sentences. Empty after a good run."""
        faults = {
            f"{self.lost:,} acknowledged events are lost": self.lost,
            f"the ledger does not balance: {self.unaccounted:,} unaccounted for": self.unaccounted,
            f"{self.unconfirmed:,} events are in the ledger and not in Kafka": self.unconfirmed,
            f"{self.waiting:,} events are still in the queue": self.waiting,
            "the system did not drain in time": not self.is_at_rest,
            f"event_counter counted {self.counted:,}, and the topic holds {self.unique:,} ids": (
                self.counted != self.unique
            ),
            f"{self.unexpected:,} responses were neither 2xx nor 503": self.unexpected,
            "; ".join(self.died): len(self.died),
        }
        return [sentence for sentence, is_so in faults.items() if is_so]

    @property
    def exit_code(self) -> int:
        """0 when there are no complaints, else 1."""
        return 1 if self.complaints else 0


def result_table(result: ChaosResult) -> Table:
    """Return the result as a table for a terminal."""
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
