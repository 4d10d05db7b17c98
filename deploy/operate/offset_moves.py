"""The rules of the task offsets.set: where a group is to continue, and what this repeats or skips. Pure."""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from deploy.errors import OperatorError
from deploy.operate.dead_letters import parse_time


class PartitionPosition(NamedTuple):
    """Where a group is in one partition of the topic."""

    partition: int
    begin: int
    """The first offset that the topic still contains."""
    end: int
    """The offset after the last record."""
    position: int | None
    """The next offset to process. None: the group has none yet, and begins at the first offset."""
    requested: int | None = None
    """A requested offset that no consumer has applied."""

    @property
    def current(self) -> int:
        """The offset of the record that is processed next."""
        return self.begin if self.position is None else min(max(self.position, self.begin), self.end)

    @property
    def lag(self) -> int:
        """The number of records that are not processed."""
        return self.end - self.current


class OffsetMove(NamedTuple):
    """The move of a group in one partition."""

    partition: int
    current: int
    target: int

    @property
    def repeated(self) -> int:
        """The number of records that are processed again."""
        return max(0, self.current - self.target)

    @property
    def skipped(self) -> int:
        """The number of records that are not processed."""
        return max(0, self.target - self.current)

    @property
    def edges(self) -> tuple[int, int]:
        """The offsets of the first and of the last record that is repeated or skipped."""
        return min(self.current, self.target), max(self.current, self.target) - 1


def parse_target(text: str, *, now_ms: int) -> Literal["earliest", "latest"] | int:
    """Return the target of a move: `earliest`, `latest`, or a time in ms since 1970. Raises OperatorError."""
    if text in ("earliest", "latest"):
        return "earliest" if text == "earliest" else "latest"
    if not text:
        raise OperatorError("--to is missing. Use earliest, latest, a time (2026-11-23T10:00:00Z) or an age (2h).")
    time_ms = parse_time("--to", text, now_ms=now_ms)
    if time_ms > now_ms:
        raise OperatorError(f'--to: the time "{text}" is in the future. Use latest to skip all records.')
    return time_ms


def parse_partition(text: str, known: Iterable[int]) -> int | None:
    """Return the partition of a flag; None for all. Raises OperatorError."""
    partitions = sorted(known)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text) in partitions):
        valid = ", ".join(map(str, partitions))
        raise OperatorError(f'--partition: the topic has no partition "{text}". Use one of {valid}, or none for all.')
    return int(text)


def plan_moves(positions: Iterable[PartitionPosition], targets: Mapping[int, int]) -> list[OffsetMove]:
    """Return the moves to these offsets, by partition. A partition that is there already needs none."""
    moves = [OffsetMove(found.partition, found.current, targets[found.partition]) for found in positions]
    return [move for move in moves if move.current != move.target]


def still_due(moves: Iterable[OffsetMove], current: Mapping[int, int]) -> list[OffsetMove]:
    """Return the moves that are still wanted while the group goes on.

    A group that has passed the target of a skip is not moved back.
    """
    return [move for move in moves if not (move.skipped and current[move.partition] >= move.target)]


def older_records(moves: Iterable[OffsetMove], young: Mapping[int, int]) -> int:
    """Return how many of the repeated records are before the offsets `young`."""
    return sum(max(0, min(move.current, young[move.partition]) - move.target) for move in moves)
