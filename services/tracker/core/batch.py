"""Batches: one body with many events, in the shapes that clients send, into entries that stand alone.

Shapes: a JSON array, `{"events": [...]}`, `{"batch": [...]}` as the Segment libraries send it, or NDJSON. An entry is
an object:

    type  or event     the type; of a Segment call of type `track` it is the name in `event`
    params             an object or a query; or `properties`, or `traits`
    id    or messageId the event's id
    ts    or timestamp the client's time: milliseconds since 1970 or RFC 3339
    path               the path of the event; its last segment is the type

`userId`, `anonymousId` and `name` (of Segment's page, screen and group calls) become parameters of those names.
`context` is left out: it holds addresses and user agents that the privacy settings could not reach.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec

from services.backbone.events import InvalidEvent, path_of_type, type_of_path
from services.tracker.core.bodies import (
    Malformed,
    Refused,
    TooLarge,
    join_queries,
    query_of_members,
    read_json,
)

_NDJSON_TYPES: Final = (
    b"application/x-ndjson",
    b"application/ndjson",
    b"application/jsonl",
    b"application/x-jsonlines",
)
_LISTS: Final = ("events", "batch")
_PARAMS: Final = ("params", "properties", "traits")
_IDENTITY: Final = ("userId", "anonymousId", "name")
_LATEST_MS: Final = 253_402_300_799_999  # the last millisecond of the year 9999
_LONGEST_TIME: Final = 40
_SHORT: Final = 128  # visitors choose types, and a cache must stay small
_SAFE_IN_PATH: Final = "/:@!$&'()*+,;=-._~%"


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One event of a batch."""

    path: bytes
    query: bytes
    id: str | None
    """As the client gave it; not yet checked."""
    client_time_ms: int | None
    """Corrected by the batch's `sent_at` when it has one."""
    notes: tuple[str, ...] = ()
    """What was passed over, although the event is kept."""


class Batch(NamedTuple):
    """The entries of a body in its order: what can't be taken stands there as its refusal."""

    entries: list[Entry | Refused]


def read_batch(content_type: bytes, body: bytes, *, received_at_ms: int, max_events: int, setting: str) -> Batch:
    """Decode a batch. Raises Malformed when it is none, TooLarge when it has over `max_events` entries."""
    values, sent_at = _values(content_type, body)
    skew_ms = _skew_ms(sent_at, received_at_ms)
    entries: list[Entry | Refused] = []
    for value in values:
        if len(entries) >= max_events:
            raise TooLarge("the batch", max_events, setting, "events")
        entries.append(_read_entry(value, skew_ms))
    return Batch(entries)


def _values(content_type: bytes, body: bytes) -> tuple[Iterable[object], object]:
    """Return the entries of a body, not yet looked at, and when the client says that it sent them."""
    if content_type.partition(b";")[0].strip().lower() in _NDJSON_TYPES:
        return _lines(body), None
    try:
        document = read_json(body)
    except Malformed:
        if _is_ndjson(body):
            return _lines(body), None
        raise
    return _list_of(document)


def _list_of(document: object) -> tuple[Iterable[object], object]:
    if isinstance(document, list):
        return document, None
    if isinstance(document, dict):
        for name in _LISTS:
            if isinstance(document.get(name), list):
                return document[name], document.get("sent_at", document.get("sentAt"))
        return [document], None
    raise Malformed('expected a JSON array, {"events": [...]}, {"batch": [...]} or one JSON object a line')


def _is_ndjson(body: bytes) -> bool:
    first, _, rest = body.strip().partition(b"\n")
    if not rest or not first.startswith(b"{"):
        return False
    try:
        return isinstance(read_json(first), dict)
    except Malformed:
        return False


def _lines(body: bytes) -> Iterator[object]:
    for line in body.split(b"\n"):
        if line.strip():
            try:
                yield read_json(line)
            except Malformed as refusal:
                yield refusal


def _read_entry(value: object, skew_ms: int) -> Entry | Refused:
    if isinstance(value, Refused):
        return value
    if not isinstance(value, dict):
        return Malformed("expected an object")
    try:
        event_id, id_note = _id(value)
        client_time_ms, time_note = _client_time(value, skew_ms)
        return Entry(
            path=_path(value),
            query=_query(value),
            id=event_id,
            client_time_ms=client_time_ms,
            notes=tuple(filter(None, (id_note, time_note))),
        )
    except Refused as refusal:
        return refusal
    except InvalidEvent as error:
        return Malformed(str(error))


def _path(entry: Mapping[str, Any]) -> bytes:
    event_type, name, path = entry.get("type"), entry.get("event"), entry.get("path", "")
    if name and event_type in (None, "", "track"):
        event_type = name
    if event_type is not None and not isinstance(event_type, str):
        raise Malformed("type must be text")
    if not isinstance(path, str):
        raise Malformed("path must be text")
    encoded = _encode_path(path) if path else b""
    if not event_type:
        if not encoded:
            raise Malformed("type is missing")
        return encoded
    if encoded and type_of_path(encoded) == event_type:
        return encoded
    made = _path_of_short_type(event_type) if len(event_type) <= _SHORT else path_of_type(event_type)
    return encoded.rstrip(b"/") + made


# Types are few and come over and over.
_path_of_short_type = lru_cache(maxsize=4096)(path_of_type)


def _encode_path(path: str) -> bytes:
    """Return a path as it would stand in a request line; empty stays empty."""
    path = path.partition("?")[0].partition("#")[0]
    encoded = quote(path, safe=_SAFE_IN_PATH, errors="replace").encode("ascii")
    return encoded if not encoded or encoded.startswith(b"/") else b"/" + encoded


def _query(entry: Mapping[str, Any]) -> bytes:
    params = _params(entry)
    identity = query_of_members({key: entry[key] for key in _IDENTITY if entry.get(key) is not None})
    return join_queries(params, identity) if identity else params


def _params(entry: Mapping[str, Any]) -> bytes:
    for key in _PARAMS:
        params = entry.get(key)
        if isinstance(params, dict):
            return query_of_members(params)
        if isinstance(params, str):
            return params.removeprefix("?").encode("utf-8", "replace")
        if params is not None:
            raise Malformed("params must be an object or a query")
    return b""


def _id(entry: Mapping[str, Any]) -> tuple[str | None, str]:
    value = entry.get("id", entry.get("messageId"))
    if value is None or isinstance(value, str):
        return value, ""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value), ""
    return None, "id passed over: it must be text"


def _client_time(entry: Mapping[str, Any], skew_ms: int) -> tuple[int | None, str]:
    value = entry.get("ts", entry.get("timestamp"))
    if value is None:
        return None, ""
    time_ms = _time_ms(value)
    if time_ms is None or not 0 <= time_ms + skew_ms <= _LATEST_MS:
        return None, "ts passed over: expected milliseconds since 1970, or a time as in RFC 3339"
    return time_ms + skew_ms, ""


def _skew_ms(sent_at: object, received_at_ms: int) -> int:
    """How far the client's clock is behind ours: what was sent at `sent_at` arrived now."""
    sent_at_ms = _time_ms(sent_at)
    return 0 if sent_at_ms is None else received_at_ms - sent_at_ms


def _time_ms(value: object) -> int | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return int(value) if 0 <= value <= _LATEST_MS else None
    if not isinstance(value, str) or len(value) > _LONGEST_TIME:
        return None
    try:
        time = datetime.fromisoformat(value)
        # A time without a zone is UTC: all that a server far from the client can assume.
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
