"""What a view shows of the stream: the filters of the query, and one event against them.

The cost of one event is bounded whatever it holds: filters look at its first part only (core/events.py), texts are
sought by compiled literals, whose time is linear, and a query has few and short conditions.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from services.backbone import events
from services.kafidx.core.errors import BadQuery
from services.kafidx.core.events import LiveEvent

MAX_CONDITIONS: Final = 16
MAX_CHARS: Final = 200
"""The longest text that can be sought, and the longest condition value."""
MAX_CHOICES: Final = 100

META_KEYS: Final = frozenset(key.decode() for key in events.META_KEYS)
DEVICES: Final = ("desktop", "phone", "tablet", "tv", "bot", "other")

_CONDITION: Final = re.compile(r"\s*(?P<field>[^\s=!~<>]+)\s*(?P<op>!=|=|~|>|<)\s*(?P<value>.*?)\s*", re.DOTALL)
_FIELD: Final = re.compile(r"\s*(?P<field>[^\s=!~<>]*)\s*")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?", re.ASCII)

_OWN: Final[dict[str, Callable[[LiveEvent], Sequence[str]]]] = {
    "type": lambda event: (event.type.casefold(),),
    "partition": lambda event: (str(event.partition),),
    "offset": lambda event: (str(event.offset),),
}


@dataclass(frozen=True)
class Condition:
    """`field op value` on meta, on a parameter, or on `type`, `partition` and `offset`."""

    text: str
    values: Callable[[LiveEvent], Sequence[str]]
    """The values that the event has in this field, case-folded."""
    holds: Callable[[str], bool]
    negated: bool = False
    """No value may be the one named, as in `!=`: also true when the event has none."""

    def matches(self, event: LiveEvent) -> bool:
        """Whether one of the event's values is as wanted."""
        return any(map(self.holds, self.values(event))) is not self.negated


@dataclass(frozen=True)
class Filter:
    """All that must be true of an event. An empty one shows everything."""

    types: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    countries: frozenset[str] = frozenset()
    bot: bool | None = None
    partitions: frozenset[int] = frozenset()
    text: re.Pattern[str] | None = None
    conditions: tuple[Condition, ...] = ()

    @property
    def shows_everything(self) -> bool:
        """Whether no event can fail it."""
        return self == Filter()

    def matches(self, event: LiveEvent) -> bool:
        """Whether the event is shown. Cheap questions come first."""
        return (
            (not self.partitions or event.partition in self.partitions)
            and (not self.types or event.type in self.types)
            and (self.bot is None or event.is_bot is self.bot)
            and (not self.devices or event.meta("device") in self.devices)
            and (not self.countries or event.meta("country") in self.countries)
            and all(condition.matches(event) for condition in self.conditions)
            and (self.text is None or self.text.search(event.text) is not None)
        )


def parse_condition(text: str) -> Condition:
    """Read `field op value`. Raises BadQuery with the place where it can't be read any more."""
    if len(text) > 2 * MAX_CHARS:
        raise BadQuery("where", 2 * MAX_CHARS, f"longer than {2 * MAX_CHARS} characters", text)
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise _unreadable(text)
    value = found["value"]
    if len(value) > MAX_CHARS:
        raise BadQuery("where", found.start("value") + MAX_CHARS, f"value longer than {MAX_CHARS} characters", text)
    values = _values_of(found["field"], found.start("field"), text)
    match found["op"]:
        case "=" | "!=":
            sought = value.casefold()
            return Condition(text, values, lambda held: held == sought, negated=found["op"] == "!=")
        case "~":
            if not value:
                raise BadQuery("where", found.start("value"), "a text to look for is missing", text)
            literal = re.compile(re.escape(value.casefold()))
            return Condition(text, values, lambda held: literal.search(held) is not None)
        case operator:
            if not _NUMBER.fullmatch(value):
                reason = f"{operator} compares numbers; {value!r} is none" if value else "a number is missing"
                raise BadQuery("where", found.start("value"), reason, text)
            return Condition(text, values, _comparison(operator, float(value)))


def choices(parameter: str, texts: Sequence[str]) -> list[tuple[str, int, str]]:
    """Split comma-separated texts into (choice, position, whole text); blank ones are passed over."""
    found: list[tuple[str, int, str]] = []
    for text in texts:
        position = 0
        for part in text.split(","):
            choice = part.strip()
            if choice:
                found.append((choice, position + part.index(choice), text))
            position += len(part) + 1
    if len(found) > MAX_CHOICES:
        raise BadQuery(parameter, found[MAX_CHOICES][1], f"more than {MAX_CHOICES} choices", found[MAX_CHOICES][2])
    return found


def sought_text(text: str) -> re.Pattern[str] | None:
    """Compile free text into what is sought; None when there is nothing to look for."""
    if len(text) > MAX_CHARS:
        raise BadQuery("text", MAX_CHARS, f"longer than {MAX_CHARS} characters", text)
    return re.compile(re.escape(text.casefold())) if text.strip() else None


def _unreadable(text: str) -> BadQuery:
    lead = _FIELD.match(text)
    begin = 0 if lead is None else lead.end()
    if lead is None or not lead["field"]:
        return BadQuery("where", begin, "expected a field, as in klag > 100", text)
    return BadQuery("where", begin, "expected an operator: = != ~ > <", text)


def _values_of(field: str, position: int, text: str) -> Callable[[LiveEvent], Sequence[str]]:
    if field in _OWN:
        return _OWN[field]
    source, dot, name = field.partition(".")
    if dot and source in ("params", "meta") and not name:
        raise BadQuery("where", position + len(field), f"a name is missing after {source}.", text)
    if dot and source == "params":
        return lambda event: event.parameter(name)
    if (dot and source == "meta") or field in META_KEYS:
        key = name if dot else field
        return lambda event: _folded(event.meta(key))
    return lambda event: event.parameter(field)


def _folded(value: str | None) -> Sequence[str]:
    return () if value is None else (value.casefold(),)


def _comparison(operator: str, limit: float) -> Callable[[str], bool]:
    def above(held: str) -> bool:
        return _NUMBER.fullmatch(held) is not None and float(held) > limit

    def below(held: str) -> bool:
        return _NUMBER.fullmatch(held) is not None and float(held) < limit

    return above if operator == ">" else below
