"""Which event makes which action, with its arguments. Pure: no I/O, no clock.

Anybody can send events, so every value is checked here. An event of the right type with wrong values is invalid: it is
never sent to a worker, and goes to the dead list.
"""

import math
import re
from collections.abc import Callable, Iterable
from typing import Final, Literal, NamedTuple

import msgspec

from services.backbone.events import (
    META_OPTED_OUT,
    META_RECEIVED_AT,
    EncodedEvent,
    InvalidEvent,
    fingerprint,
    meta_value,
    parameter,
    split_event,
)
from services.backbone.names import IGNORES_OLD_EVENTS
from services.backbone.record_headers import RecordHeaders
from services.consumers.core.counting import whole_number

_MOST_OWNER_CHARS: Final = 256
"""The limit of storage."""
_MOST_NUMBER_CHARS: Final = 32
MOST_LATITUDE: Final = 90.0
MOST_LONGITUDE: Final = 180.0
_MOST_ACCURACY_M: Final = 500.0
"""A fix is exact up to this accuracy radius: the default of MAX_ACCURACY_M of storage."""
_MOST_KEPT_CHARS: Final = 2000
_OBJECT_ID: Final = re.compile(r"[0-9A-Fa-f]{24}").fullmatch
"""The form that storage accepts (`parse_id`)."""
_CONTROL_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
DOT_SEGMENTS: Final = frozenset({".", ".."})
"""HTTP clients remove these segments from a path (RFC 3986, 5.2.4): the request would go to another address."""
_WITHOUT_MATCHING: Final = frozenset({"delete", "search", "preview"})


class StoreFix(msgspec.Struct, frozen=True):
    """Pass the location fix of a device to storage."""

    device: str
    latitude: float
    longitude: float
    accuracy_m: float
    at_ms: int
    """The time of the fix. storage ignores a fix that is older than the one it has, so the order does not matter."""


class MatchObject(msgspec.Struct, frozen=True):
    """Ask storage to match one object."""

    collection: Literal["offers", "searches"]
    id: str


class NotifySearchers(msgspec.Struct, frozen=True):
    """Ask storage to match the offers of an owner."""

    owner: str


class InvalidArguments(msgspec.Struct, frozen=True):
    """The arguments of an invalid event in the dead list: the event as it was received, truncated."""

    type: str
    params: str


class Action(msgspec.Struct, frozen=True):
    """What a worker does because of an event."""

    handler: str
    id: str
    """Identifies the event. Workers act once on each id (`event_id`)."""
    arguments: str
    """A JSON object."""


class SourceRecord(NamedTuple):
    """The parts of a Kafka record that decide about its action."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: RecordHeaders


class Selected(NamedTuple):
    """An event that needs an action."""

    partition: int
    offset: int
    action: Action
    invalid: str = ""
    """Why the event is invalid, else empty. An invalid event goes to the dead list."""


Arguments = msgspec.Struct
ReadArguments = Callable[[EncodedEvent], Arguments | None]
"""Returns the arguments of the action of an event; None if the event needs no action. Raises InvalidEvent."""


class ActionRule(NamedTuple):
    """Which events one action consumer acts on."""

    handler: str
    types: frozenset[bytes]
    read: ReadArguments
    newest_only: bool = False
    """Whether only one fix of each device among the records of a poll needs an action: the newest exact one, else the
    newest. storage matches no inexact fix, and after it ignores an older exact one."""
    provider_wait_s: float = 0.0
    """Seconds that an action may wait for a provider on the internet until operators get an alert. 0: it calls none."""

    @property
    def ignores_old(self) -> bool:
        """Whether an event that is old when its consumer takes it needs no action."""
        return self.handler in IGNORES_OLD_EVENTS


def select(rule: ActionRule, records: Iterable[SourceRecord], *, oldest_ms: int = 0) -> list[Selected]:
    """Return the events that need an action, in the order of the records. Never raises.

    Records that are not events are skipped: the statistics consumers count them. A rule that ignores old events ignores
    those that the tracker received before `oldest_ms`, or at an unknown time.
    """
    selected: list[Selected] = []
    best: dict[str, tuple[tuple[bool, int], int]] = {}  # device -> rank of its best fix, and index in `selected`
    superseded: set[int] = set()
    for record in records:
        try:
            event = split_event(record.value or b"")
        except InvalidEvent:
            continue
        if event.type not in rule.types:
            continue
        if rule.ignores_old and (whole_number(meta_value(event.meta, META_RECEIVED_AT)) or 0) < oldest_ms:
            continue
        id_ = event_id(event, record)
        try:
            arguments = rule.read(event)
        except InvalidEvent as error:
            kept = InvalidArguments(event.type.decode("ascii", "replace"), _kept(event.params))
            action = Action(rule.handler, id_, _json(kept))
            selected.append(Selected(record.partition, record.offset, action, str(error)))
            continue
        if arguments is None:
            continue
        if rule.newest_only and isinstance(arguments, StoreFix):
            rank = (arguments.accuracy_m <= _MOST_ACCURACY_M, arguments.at_ms)
            before = best.get(arguments.device)
            if before is not None and rank < before[0]:
                continue
            if before is not None:
                superseded.add(before[1])
            best[arguments.device] = (rank, len(selected))
        selected.append(Selected(record.partition, record.offset, Action(rule.handler, id_, _json(arguments))))
    return [each for index, each in enumerate(selected) if index not in superseded]


def event_id(event: EncodedEvent, record: SourceRecord) -> str:
    """Return the id of an event: its fingerprint, because clients choose ids (`events.fingerprint`).

    An event without an id is identified by its offset.
    """
    found = fingerprint(event, record.key, record.headers)
    return found.hex() if found is not None else f"{record.partition}-{record.offset}"


def store_fix(event: EncodedEvent) -> StoreFix | None:
    """Read a `geo` event. The event of a person who opted out has no device id, and needs no action."""
    params = text_of(event)
    device = parameter(params, "di") or ""
    if not device and meta_value(event.meta, META_OPTED_OUT) == b"1":
        return None
    received_ms = whole_number(meta_value(event.meta, META_RECEIVED_AT))
    if received_ms is None or received_ms < 0:
        raise InvalidEvent("the event has no time of receipt")
    at_ms = received_ms
    if text := parameter(params, "ts"):
        fixed_ms = whole_number(text.encode("ascii", "replace"))
        if fixed_ms is None or fixed_ms < 0:
            raise InvalidEvent(f"ts: {_kept_text(text)!r} is not a time in ms since 1970")
        at_ms = min(fixed_ms, received_ms)  # a fix of the future would make all later fixes stale
    return StoreFix(
        device=checked_text(device, "di"),
        latitude=_number(params, "lt", MOST_LATITUDE),
        longitude=_number(params, "lg", MOST_LONGITUDE),
        accuracy_m=_accuracy_m(params),
        at_ms=at_ms,
    )


def match_object(event: EncodedEvent) -> MatchObject | None:
    """Read an `offr` or `srch` event. Only those that storage sends about an object have an `_id`."""
    params = text_of(event)
    id_ = parameter(params, "_id")
    if not id_ or parameter(params, "action") in _WITHOUT_MATCHING:
        return None
    if not _OBJECT_ID(id_):
        raise InvalidEvent(f"_id: {_kept_text(id_)!r} is not the id of an object")
    return MatchObject("offers" if event.type == b"offr" else "searches", id_)


def notify_searchers(event: EncodedEvent) -> NotifySearchers:
    """Read a `bud` event."""
    owner = checked_text(parameter(text_of(event), "owner") or "", "owner")
    if owner in DOT_SEGMENTS:
        raise InvalidEvent(f"owner: {owner!r} can't be a part of an address")
    if _CONTROL_CHARACTER.search(owner):
        # storage has no route for an owner with a line break. Its 404 would look like an outage that never ends.
        raise InvalidEvent(f"owner: {_kept_text(owner)!r} contains a control character")
    return NotifySearchers(owner)


GEO_UPDATES: Final = ActionRule("geo_updates", frozenset({b"geo"}), store_fix, newest_only=True)
MATCH_NOTIFIER: Final = ActionRule("match_notifier", frozenset({b"offr", b"srch"}), match_object)
BULK_DATA: Final = ActionRule("bulk_data", frozenset({b"bud"}), notify_searchers)


def text_of(event: EncodedEvent) -> str:
    """Return the parameters of an event."""
    return event.params.decode("ascii", "replace")


def checked_text(text: str, name: str, *, least: int = 1, most: int = _MOST_OWNER_CHARS) -> str:
    """Return a text. Raises InvalidEvent, with the name of its parameter, unless its length is allowed."""
    if not least <= len(text) <= most:
        raise InvalidEvent(f"{name}: must have {least} to {most} characters, has {len(text)}")
    return text


def checked_number(text: str, name: str, most: float) -> float:
    """Return a number from -`most` to `most`. Raises InvalidEvent with the name of its parameter."""
    try:
        number = float(text) if len(text) <= _MOST_NUMBER_CHARS and "_" not in text else math.nan
    except ValueError:
        number = math.nan
    if not abs(number) <= most:  # not a number is never less
        raise InvalidEvent(f"{name}: {_kept_text(text)!r} is not a number from {-most:g} to {most:g}")
    return number


def _number(params: str, name: str, most: float) -> float:
    return checked_number(parameter(params, name) or "", name, most)


def _accuracy_m(params: str) -> float:
    if not parameter(params, "a"):
        return 0.0
    number = _number(params, "a", 1e9)
    if number < 0.0:
        raise InvalidEvent("a: must not be negative")
    return number


def _json(value: Arguments) -> str:
    return msgspec.json.encode(value).decode()


def _kept(params: bytes) -> str:
    return _kept_text(params.decode("ascii", "replace"), _MOST_KEPT_CHARS)


def _kept_text(text: str, most: int = 64) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
