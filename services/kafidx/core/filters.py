"""Filters of a view: decide whether an event is shown.

The CPU time for one event is bounded for any content. Filters read only the first part of an event (core/events.py).
Texts are searched as compiled literals, whose time is linear. A query has few and short conditions (core/query.py).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from services.backbone import events
from services.kafidx.core.events import LiveEvent

META_KEYS: Final = frozenset(key.decode() for key in events.META_KEYS)
DEVICES: Final = ("desktop", "phone", "tablet", "tv", "bot", "other")

NUMBER: Final = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?", re.ASCII)

_RECORD_FIELDS: Final[dict[str, Callable[[LiveEvent], Sequence[str]]]] = {
    "type": lambda event: (event.type.casefold(),),
    "partition": lambda event: (str(event.partition),),
    "offset": lambda event: (str(event.offset),),
}


@dataclass(frozen=True)
class Condition:
    """`field op value` on a meta key, on a parameter, or on `type`, `partition` and `offset`."""

    text: str
    values: Callable[[LiveEvent], Sequence[str]]
    """Return the case-folded values that the event has in this field."""
    holds: Callable[[str], bool]
    negated: bool = False
    """True for `!=`: no value of the event may be equal, so an event without this field matches."""

    def matches(self, event: LiveEvent) -> bool:
        """Return whether the event meets the condition. One matching value of a repeated parameter is enough."""
        return any(map(self.holds, self.values(event))) is not self.negated


@dataclass(frozen=True)
class Filter:
    """Conditions; an event must meet all of them. An empty filter matches every event."""

    types: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    countries: frozenset[str] = frozenset()
    bot: bool | None = None
    partitions: frozenset[int] = frozenset()
    text: re.Pattern[str] | None = None
    conditions: tuple[Condition, ...] = ()

    @property
    def matches_everything(self) -> bool:
        """Whether the filter is empty."""
        return self == Filter()

    def matches(self, event: LiveEvent) -> bool:
        """Return whether the event is shown. The cheapest comparisons come first."""
        return (
            (not self.partitions or event.partition in self.partitions)
            and (not self.types or event.type in self.types)
            and (self.bot is None or event.is_bot is self.bot)
            and (not self.devices or event.meta("device") in self.devices)
            and (not self.countries or event.meta("country") in self.countries)
            and all(condition.matches(event) for condition in self.conditions)
            and (self.text is None or self.text.search(event.text) is not None)
        )


def values_of(field: str) -> Callable[[LiveEvent], Sequence[str]]:
    """Return the function that reads a field, such as `klag`, `meta.klag`, `params.q` or `q`, from an event.

    A name without a prefix is `type`, `partition` or `offset`, then a meta key, then a parameter.
    """
    if field in _RECORD_FIELDS:
        return _RECORD_FIELDS[field]
    source, dot, name = field.partition(".")
    if dot and source == "params":
        return lambda event: event.parameter(name)
    if (dot and source == "meta") or field in META_KEYS:
        key = name if dot else field
        return lambda event: _folded(event.meta(key))
    return lambda event: event.parameter(field)


def _folded(value: str | None) -> Sequence[str]:
    return () if value is None else (value.casefold(),)


def comparison(operator: str, limit: float) -> Callable[[str], bool]:
    """Return the test of `>` or `<`. A value that is not a number never passes it."""

    def above(held: str) -> bool:
        return NUMBER.fullmatch(held) is not None and float(held) > limit

    def below(held: str) -> bool:
        return NUMBER.fullmatch(held) is not None and float(held) < limit

    return above if operator == ">" else below
