"""A view: what one watcher asked for, as its query says it. The same names in the page's URL and in the socket's."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from services.backbone import names
from services.kafidx.core.errors import BadQuery
from services.kafidx.core.filters import DEVICES, MAX_CONDITIONS, Filter, choices, parse_condition, sought_text
from services.kafidx.core.positions import Start, parse_start

_MAX_QUERY_CHARS: Final = 16_384
_SESSION: Final = re.compile(r"kafidx-[0-9a-f]{5}-[0-9]{1,3}", re.ASCII)
_MAX_PARTITION: Final = 2**31 - 1


@dataclass(frozen=True)
class View:
    """What is shown, and from where on."""

    topic: str
    """One of `topics()`."""
    filter: Filter
    start: Start | None
    """None: where this session stopped, or from now on."""
    session: str | None
    """Only a name for what a browser watches: it never becomes a consumer group."""
    reset: bool


def topics() -> tuple[str, ...]:
    """Return the names of the topics that can be watched, the usual one first."""
    return names.EVENTS_TOPIC, names.DEAD_LETTER_TOPIC


def parse_view(query: str) -> View:
    """Read a query string. Raises BadQuery with the parameter, the place in it, and the reason."""
    if len(query) > _MAX_QUERY_CHARS:
        raise BadQuery("query", _MAX_QUERY_CHARS, f"longer than {_MAX_QUERY_CHARS} characters")
    given: dict[str, list[str]] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        given.setdefault(name, []).append(text)
    session = _session(given.get("gid", []))
    reset = _yes_or_no("reset", given.get("reset", []), yes=("1", "yes"), no=("0", "no")) or False
    starts = [text for text in given.get("from", []) if text]
    if len(starts) > 1:
        raise BadQuery("from", 0, "given more than once", starts[1])
    start = parse_start(starts[0]) if starts else None
    return View(
        parse_topic(given.get("topic", [])),
        _filter(given),
        start or (Start("beginning") if reset else None),
        session,
        reset,
    )


def parse_topic(texts: Sequence[str]) -> str:
    """Read the name of a topic that can be watched; the events when none is given. Raises BadQuery."""
    given = [text for text in texts if text]
    if len(given) > 1:
        raise BadQuery("topic", 0, "given more than once", given[1])
    if given and given[0] not in topics():
        raise BadQuery("topic", 0, f"{given[0]!r} is none of {', '.join(topics())}", given[0])
    return given[0] if given else names.EVENTS_TOPIC


def _filter(given: dict[str, list[str]]) -> Filter:
    conditions = [text for text in given.get("where", []) if text.strip()]
    if len(conditions) > MAX_CONDITIONS:
        raise BadQuery("where", 0, f"more than {MAX_CONDITIONS} conditions", conditions[MAX_CONDITIONS])
    texts = [text for text in given.get("text", []) if text]
    if len(texts) > 1:
        raise BadQuery("text", 0, "given more than once", texts[1])
    return Filter(
        # `filter` is what this parameter was called once; links with it are still about.
        types=frozenset(choice for name in ("type", "filter") for choice, _, _ in choices(name, given.get(name, []))),
        devices=frozenset(_devices(given.get("device", []))),
        countries=frozenset(_countries(given.get("country", []))),
        bot=_yes_or_no("bot", given.get("bot", []), yes=("yes", "1"), no=("no", "0")),
        partitions=frozenset(_partitions(given.get("partition", []))),
        text=sought_text(texts[0]) if texts else None,
        conditions=tuple(map(parse_condition, conditions)),
    )


def _devices(texts: Sequence[str]) -> list[str]:
    found = choices("device", texts)
    for choice, position, text in found:
        if choice.lower() not in DEVICES:
            raise BadQuery("device", position, f"{choice!r} is none of {', '.join(DEVICES)}", text)
    return [choice.lower() for choice, _, _ in found]


def _countries(texts: Sequence[str]) -> list[str]:
    found = choices("country", texts)
    for choice, position, text in found:
        if not re.fullmatch(r"[A-Za-z]{2}", choice, re.ASCII):
            raise BadQuery("country", position, f"{choice!r} is no code of two letters, such as DE", text)
    return [choice.upper() for choice, _, _ in found]


def _partitions(texts: Sequence[str]) -> list[int]:
    found = choices("partition", texts)
    for choice, position, text in found:
        if not re.fullmatch(r"[0-9]{1,10}", choice, re.ASCII) or int(choice) > _MAX_PARTITION:
            raise BadQuery("partition", position, f"{choice!r} is no partition's number", text)
    return [int(choice) for choice, _, _ in found]


def _yes_or_no(parameter: str, texts: Sequence[str], *, yes: Sequence[str], no: Sequence[str]) -> bool | None:
    given = [text for text in texts if text]
    if not given:
        return None
    if given[-1] not in (*yes, *no):
        raise BadQuery(parameter, 0, f"expected {yes[0]} or {no[0]}, found {given[-1]!r}", given[-1])
    return given[-1] in yes


def _session(texts: Sequence[str]) -> str | None:
    given = [text for text in texts if text]
    if not given:
        return None
    if len(given) > 1 or not _SESSION.fullmatch(given[0]):
        reason = "a session is called kafidx-<5 hexadecimal digits>-<1 to 3 digits>; it is never a consumer group"
        raise BadQuery("gid", 0, reason, given[-1])
    return given[0]
