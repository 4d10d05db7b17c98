"""The query of a view: the parameters that the live page, the websocket and the data pages share.

Every parser raises BadQuery, which holds the position of the error. The page marks that character in its form.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from services.backbone import names
from services.kafidx.core.events import LiveEvent
from services.kafidx.core.filters import DEVICES, NUMBER, Condition, Filter, comparison, values_of
from services.kafidx.core.positions import Start

MAX_CONDITIONS: Final = 16
MAX_CHARS: Final = 200
"""The limit of a text to search, and of the value of a condition."""
MAX_CHOICES: Final = 100
MAX_LAST: Final = 100_000
MAX_PARTITION: Final = 2**31 - 1
MAX_OFFSET: Final = 2**63 - 1
_MAX_QUERY_CHARS: Final = 16_384
_MAX_TIME_MS: Final = 2**53

_CONDITION: Final = re.compile(r"\s*(?P<field>[^\s=!~<>]+)\s*(?P<op>!=|=|~|>|<)\s*(?P<value>.*?)\s*", re.DOTALL)
_FIELD: Final = re.compile(r"\s*(?P<field>[^\s=!~<>]*)\s*")
_SESSION: Final = re.compile(r"kafidx-[0-9a-f]{5}-[0-9]{1,3}", re.ASCII)


class BadQuery(ValueError):
    """A query with an invalid parameter. The response is HTTP 400 or close code 4400."""

    def __init__(self, parameter: str, position: int | None, reason: str, value: str | None = None) -> None:
        """`position` counts characters of `value` from 0. `value` identifies one of the values of a parameter."""
        super().__init__(f"{parameter}: {reason}")
        self.parameter = parameter
        self.position = position
        self.reason = reason
        self.value = value

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name. The page relies on these names."""
        return {
            "parameter": self.parameter,
            "position": self.position,
            "reason": self.reason,
            "value": self.value,
        }


@dataclass(frozen=True)
class View:
    """The parsed query of a live view."""

    topic: str
    """One of `topics()`."""
    filter: Filter
    start: Start | None
    """None: continue the session where it stopped, or start at the end of the topic."""
    session: str | None
    """The name of a browser's session. It is never used as a consumer group."""
    reset: bool


def topics() -> tuple[str, ...]:
    """Return the names of the topics that a view can show, the default first."""
    return names.EVENTS_TOPIC, names.DEAD_LETTER_TOPIC


def parse_view(query: str) -> View:
    """Parse a query string. Raises BadQuery with the parameter, the position in its value, and the reason."""
    if len(query) > _MAX_QUERY_CHARS:
        raise BadQuery("query", _MAX_QUERY_CHARS, f"longer than {_MAX_QUERY_CHARS} characters")
    given: dict[str, list[str]] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        given.setdefault(name, []).append(text)
    session = _session(given.get("gid", []))
    reset = _yes_or_no("reset", given.get("reset", []), yes=("1", "yes"), no=("0", "no")) or False
    start_text = _single("from", given.get("from", []))
    start = parse_start(start_text) if start_text else None
    return View(
        parse_topic(given.get("topic", [])),
        _filter(given),
        start or (Start("beginning") if reset else None),
        session,
        reset,
    )


def parse_topic(texts: Sequence[str]) -> str:
    """Return the topic to show, `events` by default. Raises BadQuery for any name that is not in `topics()`."""
    topic = _single("topic", texts) or names.EVENTS_TOPIC
    if topic not in topics():
        raise BadQuery("topic", 0, f"{topic!r} is not one of {', '.join(topics())}", topic)
    return topic


def parse_start(text: str) -> Start:
    """Parse `end`, `beginning`, `last:N`, `offset:P:O,...` or `time:<ms or ISO 8601>`. Raises BadQuery."""
    kind, _, rest = text.partition(":")
    at = len(kind) + 1
    match kind:
        case "end" | "beginning":
            if rest or text.endswith(":"):
                raise BadQuery("from", len(kind), f"nothing can follow {kind}", text)
            return Start(kind)
        case "last":
            return Start("last", _number(rest, at, text, highest=MAX_LAST))
        case "offset":
            return Start("offset", offsets=_offsets(rest, at, text))
        case "time":
            return Start("time", _time_ms(rest, at, text))
        case _:
            raise BadQuery("from", 0, "expected end, beginning, last:N, offset:P:O or time:T", text)


def parse_whole(parameter: str, text: str, *, highest: int) -> int:
    """Parse a parameter that is one whole number, from 0 to `highest`. Raises BadQuery."""
    return _number(text, 0, text, highest=highest, parameter=parameter)


def parse_condition(text: str) -> Condition:
    """Parse `field op value`. Raises BadQuery with the position of the first unexpected character."""
    if len(text) > 2 * MAX_CHARS:
        raise BadQuery("where", 2 * MAX_CHARS, f"longer than {2 * MAX_CHARS} characters", text)
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise _unreadable(text)
    value = found["value"]
    if len(value) > MAX_CHARS:
        raise BadQuery("where", found.start("value") + MAX_CHARS, f"value longer than {MAX_CHARS} characters", text)
    values = _field_values(found["field"], found.start("field"), text)
    match found["op"]:
        case "=" | "!=":
            folded = value.casefold()
            return Condition(text, values, lambda held: held == folded, negated=found["op"] == "!=")
        case "~":
            if not value:
                raise BadQuery("where", found.start("value"), "expected a text after ~", text)
            literal = re.compile(re.escape(value.casefold()))
            return Condition(text, values, lambda held: literal.search(held) is not None)
        case operator:
            if not NUMBER.fullmatch(value):
                reason = f"expected a number after {operator}" + (f", found {value!r}" if value else "")
                raise BadQuery("where", found.start("value"), reason, text)
            return Condition(text, values, comparison(operator, float(value)))


def _field_values(field: str, position: int, text: str) -> Callable[[LiveEvent], Sequence[str]]:
    if field in ("params.", "meta."):
        raise BadQuery("where", position + len(field), f"expected a name after {field}", text)
    return values_of(field)


def _unreadable(text: str) -> BadQuery:
    lead = _FIELD.match(text)
    begin = 0 if lead is None else lead.end()
    if lead is None or not lead["field"]:
        return BadQuery("where", begin, "expected a field, as in klag > 100", text)
    return BadQuery("where", begin, "expected an operator: = != ~ > <", text)


def _filter(given: dict[str, list[str]]) -> Filter:
    conditions = [text for text in given.get("where", []) if text.strip()]
    if len(conditions) > MAX_CONDITIONS:
        raise BadQuery("where", 0, f"more than {MAX_CONDITIONS} conditions", conditions[MAX_CONDITIONS])
    text = _single("text", given.get("text", []))
    return Filter(
        # `filter` is the former name of `type`. Old links still use it.
        types=frozenset(choice for name in ("type", "filter") for choice, _, _ in _choices(name, given.get(name, []))),
        devices=frozenset(_devices(given.get("device", []))),
        countries=frozenset(_countries(given.get("country", []))),
        bot=_yes_or_no("bot", given.get("bot", []), yes=("yes", "1"), no=("no", "0")),
        partitions=frozenset(_partitions(given.get("partition", []))),
        text=_text_pattern(text) if text else None,
        conditions=tuple(map(parse_condition, conditions)),
    )


def _text_pattern(text: str) -> re.Pattern[str] | None:
    if len(text) > MAX_CHARS:
        raise BadQuery("text", MAX_CHARS, f"longer than {MAX_CHARS} characters", text)
    return re.compile(re.escape(text.casefold())) if text.strip() else None


def _choices(parameter: str, texts: Sequence[str]) -> list[tuple[str, int, str]]:
    """Split comma-separated values into (choice, position, whole value). Blank choices are ignored."""
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


def _devices(texts: Sequence[str]) -> list[str]:
    found = _choices("device", texts)
    for choice, position, text in found:
        if choice.lower() not in DEVICES:
            raise BadQuery("device", position, f"{choice!r} is not one of {', '.join(DEVICES)}", text)
    return [choice.lower() for choice, _, _ in found]


def _countries(texts: Sequence[str]) -> list[str]:
    found = _choices("country", texts)
    for choice, position, text in found:
        if not re.fullmatch(r"[A-Za-z]{2}", choice, re.ASCII):
            raise BadQuery("country", position, f"{choice!r} is not a code of two letters, such as DE", text)
    return [choice.upper() for choice, _, _ in found]


def _partitions(texts: Sequence[str]) -> list[int]:
    found = _choices("partition", texts)
    for choice, position, text in found:
        if not re.fullmatch(r"[0-9]{1,10}", choice, re.ASCII) or int(choice) > MAX_PARTITION:
            reason = f"{choice!r} is not a partition number (0 to {MAX_PARTITION})"
            raise BadQuery("partition", position, reason, text)
    return [int(choice) for choice, _, _ in found]


def _yes_or_no(parameter: str, texts: Sequence[str], *, yes: Sequence[str], no: Sequence[str]) -> bool | None:
    given = [text for text in texts if text]
    if not given:
        return None
    if given[-1] not in (*yes, *no):
        raise BadQuery(parameter, 0, f"expected {yes[0]} or {no[0]}, found {given[-1]!r}", given[-1])
    return given[-1] in yes


def _single(parameter: str, texts: Sequence[str]) -> str | None:
    given = [text for text in texts if text]
    if len(given) > 1:
        raise BadQuery(parameter, 0, "given more than once", given[1])
    return given[0] if given else None


def _session(texts: Sequence[str]) -> str | None:
    given = [text for text in texts if text]
    if not given:
        return None
    if len(given) > 1 or not _SESSION.fullmatch(given[0]):
        reason = "expected one session name: kafidx-<5 hexadecimal digits>-<1 to 3 digits>. It is not a consumer group"
        raise BadQuery("gid", 0, reason, given[-1])
    return given[0]


def _offsets(text: str, at: int, whole: str) -> dict[int, int]:
    offsets: dict[int, int] = {}
    for pair in text.split(","):
        partition, colon, offset = pair.partition(":")
        if not colon:
            raise BadQuery("from", at + len(pair), "expected partition:offset", whole)
        number = _number(partition, at, whole, highest=MAX_PARTITION)
        offsets[number] = _number(offset, at + len(partition) + 1, whole, highest=MAX_OFFSET)
        at += len(pair) + 1
    return offsets


def _time_ms(text: str, at: int, whole: str) -> int:
    if re.fullmatch(r"[0-9]+", text, re.ASCII):
        return _number(text, at, whole, highest=_MAX_TIME_MS)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise BadQuery("from", at, "expected ms since 1970, or a time such as 2026-01-31T12:00:00Z", whole) from None
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return max(0, int(aware.timestamp() * 1000))


def _number(text: str, at: int, whole: str, *, highest: int, parameter: str = "from") -> int:
    if not re.fullmatch(r"[0-9]+", text, re.ASCII):
        raise BadQuery(parameter, at, f"expected a whole number, found {text!r}", whole)
    if len(text) > len(str(highest)) or int(text) > highest:
        raise BadQuery(parameter, at, f"more than {highest}", whole)
    return int(text)
