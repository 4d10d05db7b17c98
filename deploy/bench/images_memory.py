"""The memory of the imageserver over many uploads: it must not grow with their number."""

from collections.abc import Callable
from typing import Final, NamedTuple

from deploy.errors import OperatorError

FIRST: Final = 1_000
"""After this number of uploads the caches are full and the allocator has what it needs."""
_MOST_GROWTH: Final = 1.1
_MOST_UPLOADS: Final = 1_000_000


class MemoryGrowth(NamedTuple):
    """The resident memory of all processes after `FIRST` uploads and at the end."""

    uploads: int
    first_mb: float
    last_mb: float

    @property
    def is_met(self) -> bool:
        """Whether the memory grew by at most a tenth."""
        return self.last_mb <= _MOST_GROWTH * self.first_mb

    def __str__(self) -> str:
        """Return a line for people."""
        growth = 100 * (self.last_mb / self.first_mb - 1)
        met = "met" if self.is_met else "missed"
        return (
            f"memory after {FIRST:,} uploads: {self.first_mb:.0f} MB, after {self.uploads:,}: {self.last_mb:.0f} MB"
            f" ({growth:+.1f} %, at most +10 %: {met})"
        )


def parse_uploads(text: str) -> int:
    """Parse the number of uploads; 0: no measurement. Raises OperatorError."""
    number = int(text) if text.isascii() and text.isdigit() else -1
    if number and not 2 * FIRST <= number <= _MOST_UPLOADS:
        raise OperatorError(f'--uploads: invalid number "{text}". Use 0, or {2 * FIRST} to {_MOST_UPLOADS}.')
    return number


def measure_growth(upload: Callable[[int], float], uploads: int) -> MemoryGrowth:
    """Upload pictures. `upload` sends a number of them, and returns the memory in MB afterwards."""
    first_mb = upload(FIRST)
    return MemoryGrowth(uploads, first_mb, upload(uploads - FIRST))
