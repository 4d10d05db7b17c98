"""One record of a topic: its decoded fields, its row in the live list, and the whole event for the detail pane.

A field is decoded once, when the first subscriber needs it. Filters and rows read only the first part of a record, so
that their time and memory are bounded for any content. The detail pane shows all of it.
"""

from functools import cached_property
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote_plus

import msgspec

from services.backbone import names
from services.backbone.events import (
    META_BOT_NAME,
    META_DEVICE,
    META_QUEUE_DELAY,
    META_RECEIVED_AT,
    EncodedEvent,
    InvalidEvent,
    decode_type,
    readable_address,
    split_event,
)
from services.backbone.record_headers import RecordHeaders, header_value

FILTERED_BYTES: Final = 4096
"""Filters read at most this many bytes of meta, and the same number of params."""
FILTERED_PARAMETERS: Final = 100
SHOWN_CHARS: Final = 500
"""A row shows at most this many characters of the parameters."""
TYPE_CHARS: Final = 200
WHOLE_PAIRS: Final = 1000
"""The detail pane shows at most this many headers and decodes at most this many pairs of meta, and the same number of
params. One event may have more than 100,000."""
NULL_VALUE: Final = "the value is null (a tombstone)"

_META_KEYS: Final = 64
_LONGEST_NUMBER: Final = 20
HIGHEST_TIME_MS: Final = 8_640_000_000_000_000
"""The latest ms that a JavaScript Date can hold. It is below 2**53, above which JavaScript loses digits."""
_BOT: Final = "bot"


class Row(msgspec.Struct, omit_defaults=True, gc=False):
    """An event in the live list. The page relies on these names."""

    t: str
    p: int
    o: int
    ts: int
    klag: int | None
    ip: str
    country: str
    device: str
    type: str
    params: str
    cut: bool = False
    bad: str = ""


class QueuedRow(NamedTuple):
    """An encoded row in the queues of subscribers."""

    partition: int
    offset: int
    row: bytes


class LiveEvent:
    """A record of the topic. Each part is decoded at its first use."""

    def __init__(  # noqa: PLR0913 - one for each part of a record
        self, topic: str, partition: int, offset: int, time_ms: int, value: bytes, *, error: str = ""
    ) -> None:
        """`time_ms` is the record's timestamp. `error` is the reason why a dead letter was not stored as an event."""
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.time_ms = time_ms
        self.value = value
        self.error = error

    def drop_decoded(self) -> None:
        """Free the decoded parts, which take several times the record's size. The next use decodes them again."""
        for name in _DECODED & self.__dict__.keys():
            del self.__dict__[name]

    @cached_property
    def _split(self) -> tuple[EncodedEvent, str]:
        """The three fields, and the error when the record is not an event."""
        try:
            return split_event(self.value), ""
        except InvalidEvent as error:
            return EncodedEvent(b"", b"", self.value), str(error)

    @property
    def bad(self) -> str:
        """The reason why the record is a dead letter or not an event. Empty for a valid event."""
        return self.error or self._split[1]

    @cached_property
    def type(self) -> str:
        """The type of the event, at most 200 characters. Empty when the record is not an event."""
        text = decode_type(self._split[0].type[: 12 * TYPE_CHARS])
        return text if len(text) <= TYPE_CHARS else f"{text[: TYPE_CHARS - 1]}…"

    @cached_property
    def queued_row(self) -> QueuedRow:
        """The encoded row. It is encoded once and shared by the queues of all subscribers."""
        return QueuedRow(self.partition, self.offset, self._row())

    def _row(self) -> bytes:
        params, cut = self._shown_params()
        received_ms = whole_number(self._fields.get(META_RECEIVED_AT))
        return msgspec.json.encode(
            Row(
                t=self.topic,
                p=self.partition,
                o=self.offset,
                ts=self.time_ms if received_ms is None else received_ms,
                klag=whole_number(self._fields.get(META_QUEUE_DELAY)),
                ip=self.meta("ip") or "",
                country=self.meta("country") or "",
                device=self.meta("device") or "",
                type=self.type,
                params=params,
                cut=cut,
                bad=self.bad,
            )
        )

    def meta(self, key: str) -> str | None:
        """Return one decoded value of meta. An address is returned in its usual notation."""
        if key not in self._decoded:
            value = self._fields.get(key.encode())
            text = None if value is None else _plain(value.decode("ascii", "replace"))
            self._decoded[key] = readable_address(text) if text and key == "ip" else text
        return self._decoded[key]

    @property
    def is_bot(self) -> bool:
        """Whether the user agent is a bot."""
        return self._fields.get(META_DEVICE) == _BOT.encode() or META_BOT_NAME in self._fields

    def parameter(self, name: str) -> list[str]:
        """Return the decoded and case-folded values of one parameter, which conditions compare."""
        if name not in self._values:
            self._values[name] = [_plain(text).casefold() for text in self._parameters.get(name, ())]
        return self._values[name]

    @cached_property
    def text(self) -> str:
        """Type, meta and parameters, decoded and case-folded, for the search of free text."""
        head = b" ".join(
            (
                self._split[0].type[:FILTERED_BYTES],
                self._split[0].meta[:FILTERED_BYTES],
                self._split[0].params[:FILTERED_BYTES],
            )
        )
        return f"{self.error} {self.meta('ip') or ''} {_plain(head.decode('utf-8', 'replace'))}".casefold()

    @cached_property
    def _decoded(self) -> dict[str, str | None]:
        return {}

    @cached_property
    def _values(self) -> dict[str, list[str]]:
        return {}

    @cached_property
    def _parameters(self) -> dict[str, list[str]]:
        """The first parameters: names are decoded, values are not."""
        found: dict[str, list[str]] = {}
        params = self._split[0].params
        if self._split[1] or params == b"-":
            return found
        head = params[:FILTERED_BYTES].decode("ascii", "replace")
        for pair in head.split("&", FILTERED_PARAMETERS)[:FILTERED_PARAMETERS]:
            name, _, text = pair.partition("=")
            found.setdefault(_plain(name), []).append(text)
        return found

    @cached_property
    def _fields(self) -> dict[bytes, bytes]:
        fields: dict[bytes, bytes] = {}
        for pair in self._split[0].meta[:FILTERED_BYTES].split(b"&", _META_KEYS)[:_META_KEYS]:
            key, equals, value = pair.partition(b"=")
            if equals:
                fields[key] = value
        return fields

    def _shown_params(self) -> tuple[str, bool]:
        if self._split[0].params == b"-":
            return "", False
        head = self._split[0].params[: 3 * SHOWN_CHARS]
        text = _plain(head.decode("utf-8", "replace"))
        cut = len(head) < len(self._split[0].params) or len(text) > SHOWN_CHARS
        return text[:SHOWN_CHARS], cut


_DECODED: Final = frozenset(name for name, part in vars(LiveEvent).items() if isinstance(part, cached_property))


class WholeRecord(NamedTuple):
    """The parts of a record for the detail pane."""

    time_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


def whole_event(topic: str, partition: int, offset: int, record: WholeRecord) -> dict[str, Any]:
    """Return a record for the detail pane. The page relies on the keys.

    The first 1,000 headers, and the first 1,000 pairs of meta and of params are decoded. `raw` holds the whole value. A
    null key, value or header is None.
    """
    time_ms, key, value, headers = record
    whole: dict[str, Any] = {
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "time_ms": time_ms,
        "key": _printable_or_none(key),
        "headers": [[name, _printable_or_none(content)] for name, content in headers[:WHOLE_PAIRS]],
        "headers_left_out": max(0, len(headers) - WHOLE_PAIRS),
        "type": "",
        "meta": [],
        "meta_left_out": 0,
        "params": [],
        "params_left_out": 0,
        "raw": _printable_or_none(value),
        "invalid": None,
    }
    if value is None:
        return whole | {"invalid": NULL_VALUE}
    try:
        event_type, meta, params = split_event(value)
    except InvalidEvent as error:
        return whole | {"invalid": str(error)}
    whole["type"] = decode_type(event_type)
    pairs, whole["meta_left_out"] = _pairs(meta)
    whole["meta"] = [[name, readable_address(text) if name == "ip" else text] for name, text in pairs]
    if params != b"-":
        pairs, whole["params_left_out"] = _pairs(params)
        whole["params"] = [list(pair) for pair in pairs]
    return whole


def _pairs(encoded: bytes) -> tuple[list[tuple[str, str]], int]:
    """Decode the first 1,000 pairs. Return them and the number of the others."""
    parts = encoded.split(b"&", WHOLE_PAIRS)
    left_out = parts[WHOLE_PAIRS].count(b"&") + 1 if len(parts) > WHOLE_PAIRS else 0
    head = b"&".join(parts[:WHOLE_PAIRS])
    return parse_qsl(head.decode("ascii", "replace"), keep_blank_values=True), left_out


def why_dead(headers: RecordHeaders) -> str:
    """Return stage and reason from the headers of a dead letter, each cut to 500 bytes."""
    given = tuple(headers)
    parts = (header_value(given, name)[:SHOWN_CHARS] for name in (names.HEADER_DEAD_STAGE, names.HEADER_DEAD_REASON))
    return ": ".join(printable(part) for part in parts if part) or "no reason given"


def printable(content: bytes) -> str:
    """Decode bytes as UTF-8. A byte that is not UTF-8 is written as backslash, x and two hexadecimal digits."""
    return content.decode("utf-8", "backslashreplace")


def _printable_or_none(content: bytes | None) -> str | None:
    return None if content is None else printable(content)


def _plain(text: str) -> str:
    return unquote_plus(text) if "%" in text or "+" in text else text


def whole_number(digits: bytes | None) -> int | None:
    """Parse a number of ms or a count. Return None when it is missing, invalid, or too large for a page."""
    # int() alone would accept "1_0", spaces, and thousands of digits.
    if digits is None or len(digits) > _LONGEST_NUMBER or not digits.removeprefix(b"-").isdigit():
        return None
    number = int(digits)
    return number if abs(number) <= HIGHEST_TIME_MS else None
