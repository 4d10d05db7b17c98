"""The rule in words: each condition of a pair, with the values that it compares."""

from typing import Final, NamedTuple

from services.backbone.pages.formats import clock
from services.storage.core.matching import Decision, MatchSide, NoMatch, SubjectKind

_MOST_KEYS: Final = 8
_LEAST_SHOWN_M: Final = 0.05


class RuleCondition(NamedTuple):
    """A condition of the rule, and whether the pair meets it."""

    text: str
    is_met: bool = True


def conditions(offer: MatchSide, search: MatchSide, decision: Decision) -> list[RuleCondition]:
    """Return all conditions of a decision. Those that are not met come first."""
    reasons: set[str] = set(decision.reasons) if isinstance(decision, NoMatch) else set()
    found = [
        _within("offer", offer, decision, reasons),
        _within("search", search, decision, reasons),
        _common_key(offer, search, decision, reasons),
        _owners(offer, search, reasons),
        _active("offer", reasons),
        _active("search", reasons),
        _valid("offer", offer, reasons),
        _valid("search", search, reasons),
    ]
    return sorted(found, key=lambda condition: condition.is_met)


def metres(value: float) -> str:
    """Return a distance to a tenth of a metre: `1,234.5 m`. A rounder form could hide why a distance is too large."""
    return f"{value:,.1f} m"


def _within(kind: SubjectKind, side: MatchSide, decision: Decision, reasons: set[str]) -> RuleCondition:
    away, radius = metres(decision.distance_m), metres(side.radius_m)
    if f"outside_{kind}_radius" not in reasons:
        return RuleCondition(f"The distance of {away} is within the radius of the {kind}, {radius}.")
    beyond_m = decision.distance_m - side.radius_m
    beyond = metres(beyond_m) if beyond_m >= _LEAST_SHOWN_M else "less than 0.1 m"
    return RuleCondition(
        f"The distance of {away} exceeds the radius of the {kind}, {radius}, by {beyond}.", is_met=False
    )


def _common_key(offer: MatchSide, search: MatchSide, decision: Decision, reasons: set[str]) -> RuleCondition:
    if "no_common_key" in reasons:
        has = [f"the {kind} has {_quoted(side.keys)}" for kind, side in (("offer", offer), ("search", search))]
        return RuleCondition(f"They share no keyword: {has[0]}, and {has[1]}.", is_met=False)
    shared = len(decision.keys)
    return RuleCondition(f"They share {shared} keyword{'' if shared == 1 else 's'}: {_quoted(decision.keys)}.")


def _owners(offer: MatchSide, search: MatchSide, reasons: set[str]) -> RuleCondition:
    if "same_owner" in reasons:
        return RuleCondition(f"Both have the same owner, {offer.owner}.", is_met=False)
    return RuleCondition(f"The owners differ: {offer.owner} and {search.owner}.")


def _active(kind: SubjectKind, reasons: set[str]) -> RuleCondition:
    if f"{kind}_inactive" in reasons:
        return RuleCondition(f"The {kind} is inactive.", is_met=False)
    return RuleCondition(f"The {kind} is active.")


def _valid(kind: SubjectKind, side: MatchSide, reasons: set[str]) -> RuleCondition:
    begin = None if side.valid_from_ms is None else clock(side.valid_from_ms)
    end = None if side.valid_until_ms is None else clock(side.valid_until_ms)
    if f"{kind}_expired" in reasons:
        return RuleCondition(f"The {kind} has expired: it was valid until {end}.", is_met=False)
    if f"{kind}_not_yet_valid" in reasons:
        return RuleCondition(f"The {kind} is not valid yet: it becomes valid at {begin}.", is_met=False)
    return RuleCondition(f"The {kind} is valid {'and has no end' if end is None else f'until {end}'}.")


def _quoted(keys: tuple[str, ...]) -> str:
    if not keys:
        return "no keyword"
    quoted = [f"\N{LEFT DOUBLE QUOTATION MARK}{key}\N{RIGHT DOUBLE QUOTATION MARK}" for key in keys[:_MOST_KEYS]]
    more = len(keys) - _MOST_KEYS
    return ", ".join(quoted) + (f" and {more} more" if more > 0 else "")
