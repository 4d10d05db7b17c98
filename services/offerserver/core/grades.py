"""The grade of a run: how far it is trusted decides what it may do.

*trusted*: it writes, and removes what is absent. *partial*: it writes and removes nothing. *failed*: it writes nothing.
A source can fail in ways that look like data: a half feed, an empty list, other ids for the same items. Removing offers
because of one of them would end encounters, and the next good run would report them to people again.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Annotated, Literal

import msgspec

from services.offerserver.core.drafts import Parsed

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
GradeName = Literal["trusted", "partial", "failed"]


class Thresholds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a run of an importer is suspect. Shares are from 0 to 1."""

    most_rejected: Share = 0.2
    """The largest share of rejected rows."""
    least_of_median: Share = 0.5
    """The least number of items, as a share of the median of the last trusted runs."""
    median_runs: Annotated[int, msgspec.Meta(ge=1, le=30)] = 5
    """The number of these runs."""
    floor: Annotated[int, msgspec.Meta(ge=0)] = 1
    """The least number of items before there was a trusted run."""
    most_exchanged: Share = 0.5
    """The largest share of known items that have another id and the same title and place."""


class RunGrade(msgspec.Struct, frozen=True, kw_only=True):
    """A grade with its reasons."""

    name: GradeName
    reasons: tuple[str, ...] = ()
    exchanged: Mapping[str, str] = msgspec.field(default_factory=dict)
    """New id -> known id, of items whose source gave them another id. Empty unless that is a reason."""

    @property
    def may_write(self) -> bool:
        """Whether offers are created and changed."""
        return self.name != "failed"

    @property
    def may_remove(self) -> bool:
        """Whether offers are removed."""
        return self.name == "trusted"


def failed(reason: str) -> RunGrade:
    """Return the grade of a run without a usable document."""
    return RunGrade(name="failed", reasons=(reason,))


def grade(
    parsed: Parsed,
    *,
    appearances: Mapping[str, tuple[str, str]],
    known: Mapping[str, tuple[str, str]],
    trusted_counts: Sequence[int],
    thresholds: Thresholds,
) -> RunGrade:
    """Return the grade of what was parsed and checked, with all reasons.

    `appearances` and `known` have the hashes of title and place by id: those of this run, and those in storage.
    `trusted_counts` has the numbers of items of earlier trusted runs that parsed a feed, the newest first.
    """
    exchanged = exchanged_ids(appearances, known)
    is_exchange = bool(known) and len(exchanged) > thresholds.most_exchanged * len(known)
    reasons = [*parsed.partial, *_count_reasons(parsed, trusted_counts, thresholds)]
    if is_exchange:
        reasons.append(f"{len(exchanged)} of {len(known)} known items have another id, and the same title and place")
    return RunGrade(
        name="partial" if reasons else "trusted", reasons=tuple(reasons), exchanged=exchanged if is_exchange else {}
    )


def exchanged_ids(appearances: Mapping[str, tuple[str, str]], known: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Return new id -> known id, of new items that look like a known item which is absent. Each known id occurs once.

    Two absent items can look alike, such as two events of one title and place. Then they are taken in turn.
    """
    absent: dict[tuple[str, str], list[str]] = {}
    for known_id, appearance in known.items():
        if known_id not in appearances and all(appearance):
            absent.setdefault(appearance, []).append(known_id)
    exchanged = {}
    for new_id, appearance in appearances.items():
        if new_id not in known and (candidates := absent.get(appearance)):
            exchanged[new_id] = candidates.pop(0)
    return exchanged


def _count_reasons(parsed: Parsed, trusted_counts: Sequence[int], thresholds: Thresholds) -> list[str]:
    items, rejected = len(parsed.drafts), len(parsed.rejections)
    reasons = []
    if rejected > thresholds.most_rejected * (items + rejected):
        reasons.append(f"{rejected} of {items + rejected} rows were rejected")
    if items == 0:
        reasons.append("it has no items")
        return reasons
    recent = trusted_counts[: thresholds.median_runs]
    if not recent and items < thresholds.floor:
        reasons.append(f"{items} items are fewer than {thresholds.floor}, which a first run must have")
    elif recent and items < thresholds.least_of_median * (usual := median(recent)):
        share = f"{thresholds.least_of_median:.0%}"
        reasons.append(f"{items} items are fewer than {share} of {usual:g}, the median of {len(recent)} trusted runs")
    return reasons
