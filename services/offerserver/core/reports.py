"""RunReport: what operators see of a run."""

from collections.abc import Iterable
from itertools import islice
from typing import Final, Literal

import msgspec

from services.offerserver.core.changes import OfferChanges
from services.offerserver.core.drafts import Parsed
from services.offerserver.core.exchanges import HttpExchange
from services.offerserver.core.grades import GradeName
from services.offerserver.core.pictures import PictureCounts
from services.offerserver.core.values import Rejection, shown

MOST_LISTED: Final = 200
"""The most rejections, and the most differences, that a run keeps."""
_MOST_REMARKS: Final = 50

DifferenceKind = Literal["new", "match", "content", "removed", "absent"]


class Difference(msgspec.Struct, frozen=True):
    """A line of the difference between a feed and storage."""

    kind: DifferenceKind
    id: str
    text: str
    """The title, or the reason of a removal."""


class RunCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of items and offers of a run."""

    items: int = 0
    """What was in the feed and is imported."""
    rejected: int = 0
    new: int = 0
    match: int = 0
    """Changed, so that people may have to know."""
    content: int = 0
    """Changed in the rest."""
    removed: int = 0
    unchanged: int = 0
    absent: int = 0
    """Known and not in the feed, for the first time."""
    held: int = 0
    """Not written, because the source gave known items other ids."""
    refused: int = 0
    """Refused by storage."""


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """A run."""

    number: int
    """It grows with each run of an importer."""
    began_ms: int
    ended_ms: int
    mode: Literal["run", "dry run", "accept"]
    grade: GradeName
    by: str = ""
    """The operator who asked for it. Empty: it was planned."""
    reasons: tuple[str, ...] = ()
    is_unchanged: bool = False
    """Whether the source reported that nothing has changed (304)."""
    counts: RunCounts = RunCounts()
    pictures: PictureCounts = PictureCounts()
    rejections: tuple[Rejection, ...] = ()
    remarks: tuple[Rejection, ...] = ()
    differences: tuple[Difference, ...] = ()
    exchanges: tuple[HttpExchange, ...] = ()
    digest: str = ""
    """The digest of what an operator may accept. Empty: nothing."""
    pending: tuple[Difference, ...] = ()
    """What would be written if it is accepted: the first lines."""
    pending_counts: RunCounts = RunCounts()
    """The numbers of all that would be written."""

    @property
    def bytes(self) -> int:
        """The bytes of all responses, as received."""
        return sum(each.received_bytes for each in self.exchanges)

    @property
    def retries(self) -> int:
        """The requests that were sent again."""
        return sum(each.retries for each in self.exchanges)


def run_counts(parsed: Parsed, changes: OfferChanges, *, refused: int = 0) -> RunCounts:
    """Return the numbers of a run that wrote these changes."""
    return RunCounts(
        items=len(parsed.drafts),
        rejected=len(parsed.rejections),
        new=len(changes.new),
        match=len(changes.matching),
        content=len(changes.content),
        removed=len(changes.removals),
        unchanged=changes.unchanged,
        absent=len(changes.absent),
        held=changes.held,
        refused=refused,
    )


def listed_rejections(parsed: Parsed) -> tuple[tuple[Rejection, ...], tuple[Rejection, ...]]:
    """Return the rejections and the remarks that a run keeps."""
    return parsed.rejections[:MOST_LISTED], parsed.remarks[:_MOST_REMARKS]


def differences(changes: OfferChanges) -> tuple[Difference, ...]:
    """Return the first lines of a difference. Of each kind there are some, also if another kind has many."""
    lines: dict[DifferenceKind, Iterable[tuple[str, str]]] = {
        "removed": ((item.source_id, item.reason) for item in changes.removals),
        "new": ((item.draft.id, item.draft.text) for item in changes.new),
        "match": ((item.draft.id, item.draft.text) for item in changes.matching),
        "content": ((item.draft.id, item.draft.text) for item in changes.content),
        "absent": ((source_id, "") for source_id in sorted(changes.absent)),
    }
    most = MOST_LISTED // len(lines)
    return tuple(
        Difference(kind, shown(source_id), shown(text))
        for kind, found in lines.items()
        for source_id, text in islice(found, most)
    )
