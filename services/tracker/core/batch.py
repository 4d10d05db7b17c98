"""Read a batch: one body with many events becomes independent entries.

A batch is a JSON array, `{"events": [...]}`, `{"batch": [...]}` (the Segment libraries send this) or NDJSON. An entry
is an object with these members:

    type  or event     the event's type; for a Segment call of type `track`, the name in `event`
    params             an object or a query; or `properties`, or `traits`
    id    or messageId the event's id
    ts    or timestamp the client's time: milliseconds since 1970 or RFC 3339
    path               the event's path; its last segment is the type

`userId`, `anonymousId` and `name` (from Segment's page, screen and group calls) become parameters of the same names.
`context` is dropped: it holds addresses and user agents that the privacy settings do not cover.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec

from services.backbone.bodies import UTF8_BOM, JsonText, Malformed, Refused, join_queries, query_of_members, read_json
from services.backbone.events import InvalidEvent, path_of_type, type_of_path
from services.tracker.core.bodies import TooLarge
from services.tracker.core.splitting import split_batch

ENCODED_PER_BATCH_BYTE: Final = 2
"""Maximum bytes of a batch's encoded events, per byte of its size limit. Each event holds the request's headers, so
without this bound 10,000 small entries and a long User-Agent become gigabytes."""
_PARAMS: Final = ("params", "properties", "traits")
_IDENTITY: Final = ("userId", "anonymousId", "name")
_LATEST_MS: Final = 253_402_300_799_999  # the last millisecond of the year 9999
_LONGEST_TIME: Final = 40
_SHORT: Final = 128  # clients choose the types, so the cache holds short ones only
# A cheap test that few single events pass, so few bodies are decoded twice.
_RESEMBLES_BATCH: Final = re.compile(rb"\[\s*+\{|\n\s*+\{")
_SAFE_IN_PATH: Final = "/:@!$&'()*+,;=-._~%"


class BatchLimits(NamedTuple):
    """The limits of one batch, each with the name of its setting."""

    events: int
    events_setting: str
    entry_bytes: int
    """Maximum text of one entry. It bounds the memory of a decoded entry."""
    entry_setting: str


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One event of a batch."""

    path: bytes
    query: bytes
    id: str | None
    """The client's id, not validated yet."""
    client_time_ms: int | None
    """Corrected by the clock skew when the batch has a `sent_at`."""
    notes: tuple[str, ...] = ()
    """Notes on invalid members that were ignored; the event is kept."""


def read_batch(
    content_type: bytes, body: bytes | bytearray, limits: BatchLimits, *, received_at_ms: int
) -> Iterator[Entry | Refused]:
    """Yield the entries of a batch in order, each decoded on demand. An invalid entry is yielded as its Refused error.

    Raises Malformed when the body is not a batch, and TooLarge when it has too many entries. Both may come after some
    entries; then the caller must not store any of them.
    """
    document = split_batch(content_type, body)
    skew_ms = _skew_ms(document.sent_at, received_at_ms)
    for index, text in enumerate(document.entries):
        if index >= limits.events:
            raise TooLarge("the batch", limits.events, limits.events_setting, "events")
        yield _read_entry(text, limits, skew_ms)


def is_plainly_batch(body: bytes) -> bool:
    """Return whether a body that was sent as one event is a batch: its first entry is an object with a type."""
    text = body.removeprefix(UTF8_BOM).lstrip()
    if not text.startswith((b"[", b"{")) or not _RESEMBLES_BATCH.search(text):
        return False
    first, _, rest = text.partition(b"\n")
    try:
        if rest.lstrip().startswith(b"{") and _has_type(read_json(first)):
            return True
    except Malformed:
        pass  # the first line is not a complete document
    try:
        document = read_json(text)
    except Malformed:
        return False
    lists = [document.get(name) for name in ("events", "batch")] if isinstance(document, dict) else [document]
    return any(isinstance(entries, list) and entries and _has_type(entries[0]) for entries in lists)


def _has_type(entry: object) -> bool:
    return isinstance(entry, dict) and ("type" in entry or "event" in entry)


def _read_entry(text: JsonText, limits: BatchLimits, skew_ms: int) -> Entry | Refused:
    if len(text) > limits.entry_bytes:
        return TooLarge("the entry", limits.entry_bytes, limits.entry_setting)
    try:
        value = read_json(text, replace_surrogates=False)
        if not isinstance(value, dict):
            return Malformed("expected an object")
        event_id, id_note = _id(value)
        client_time_ms, time_note = _client_time(value, skew_ms)
        return Entry(
            path=_path(value),
            query=_query(value),
            id=event_id,
            client_time_ms=client_time_ms,
            notes=tuple(filter(None, (id_note, time_note))) if id_note or time_note else (),
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


# Few different types occur, each of them often.
_path_of_short_type = lru_cache(maxsize=4096)(path_of_type)


def _encode_path(path: str) -> bytes:
    """Return a path in the form of a request line; an empty path stays empty."""
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
    return None, "id ignored: it must be text"


def _client_time(entry: Mapping[str, Any], skew_ms: int) -> tuple[int | None, str]:
    value = entry.get("ts", entry.get("timestamp"))
    if value is None:
        return None, ""
    time_ms = _time_ms(value)
    if time_ms is None or not 0 <= time_ms + skew_ms <= _LATEST_MS:
        return None, "ts ignored: expected milliseconds since 1970, or an RFC 3339 time"
    return time_ms + skew_ms, ""


def _skew_ms(sent_at: object, received_at_ms: int) -> int:
    """Return how far the client's clock is behind ours, when the batch was sent at `sent_at` and arrived now."""
    sent_at_ms = _time_ms(sent_at)
    return 0 if sent_at_ms is None else received_at_ms - sent_at_ms


def _time_ms(value: object) -> int | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return int(value) if 0 <= value <= _LATEST_MS else None
    if not isinstance(value, str) or len(value) > _LONGEST_TIME:
        return None
    try:
        time = datetime.fromisoformat(value)
        # A time without a zone counts as UTC, since the client's zone is unknown.
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
