"""One record of the topic as watchers see it. What is decoded is decoded once, when the first of them asks.

Everything is bounded, whatever a record holds: filters and rows look at the first part of an event only. The detail
pane shows all of it.
"""

from collections.abc import Iterable
from functools import cached_property
from typing import Any, Final
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
from services.kafidx.core.queue import Waiting

LOOKED_AT_BYTES: Final = 4096
"""How far filters look into meta, and as far into params."""
LOOKED_AT_PARAMETERS: Final = 100
SHOWN_CHARS: Final = 500
"""How much of the parameters a row shows."""
TYPE_CHARS: Final = 200
WHOLE_PAIRS: Final = 1000
"""How many pairs of meta, and of params, the detail pane decodes: one event may hold over 100,000."""

_META_KEYS: Final = 64
_LONGEST_NUMBER: Final = 20
_HIGHEST_NUMBER: Final = 8_640_000_000_000_000
"""The last ms that a Date of JavaScript can hold; it is below 2**53, above which JavaScript loses digits."""
_BOT: Final = "bot"


class Row(msgspec.Struct, omit_defaults=True, gc=False):
    """What the live list shows of an event; the names are a promise to the page."""

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


class LiveEvent:
    """A record of the topic, decoded as far as it is asked for."""

    def __init__(  # noqa: PLR0913 - one a part of a record
        self, topic: str, partition: int, offset: int, time_ms: int, value: bytes, *, fault: str = ""
    ) -> None:
        """`time_ms` is the record's own time, for what is no event; `fault` what was found wrong with it before."""
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.time_ms = time_ms
        self.value = value
        self.fault = fault

    def drop_decoded(self) -> None:
        """Give back what decoding took, several times the record's size; it is decoded again when asked for."""
        for name in _DECODED & self.__dict__.keys():
            del self.__dict__[name]

    @cached_property
    def _split(self) -> tuple[EncodedEvent, str]:
        """The three fields, and why there are none."""
        try:
            return split_event(self.value), ""
        except InvalidEvent as error:
            return EncodedEvent(b"", b"", self.value), str(error)

    @property
    def bad(self) -> str:
        """Why the record is no event, or a dead one; empty when it is one like all others."""
        return self.fault or self._split[1]

    @cached_property
    def type(self) -> str:
        """The event's type, cut; empty when the record is no event."""
        text = decode_type(self._split[0].type[: 12 * TYPE_CHARS])
        return text if len(text) <= TYPE_CHARS else f"{text[: TYPE_CHARS - 1]}…"

    @cached_property
    def waiting(self) -> Waiting:
        """The row on its way to watchers: made once, shared by all of them."""
        return Waiting(self.partition, self.offset, self._row())

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
        """Return one value of meta, decoded; an address as people write it."""
        if key not in self._decoded:
            value = self._fields.get(key.encode())
            text = None if value is None else _plain(value.decode("ascii", "replace"))
            self._decoded[key] = readable_address(text) if text and key == "ip" else text
        return self._decoded[key]

    @property
    def is_bot(self) -> bool:
        """Whether the user agent said so."""
        return self._fields.get(META_DEVICE) == _BOT.encode() or META_BOT_NAME in self._fields

    def parameter(self, name: str) -> list[str]:
        """Return the values of one parameter, decoded and case-folded: what conditions compare."""
        if name not in self._values:
            self._values[name] = [_plain(text).casefold() for text in self._parameters.get(name, ())]
        return self._values[name]

    @cached_property
    def text(self) -> str:
        """Type, meta and parameters, decoded and case-folded: what free text is sought in."""
        head = b" ".join(
            (
                self._split[0].type[:LOOKED_AT_BYTES],
                self._split[0].meta[:LOOKED_AT_BYTES],
                self._split[0].params[:LOOKED_AT_BYTES],
            )
        )
        return f"{self.fault} {self.meta('ip') or ''} {_plain(head.decode('utf-8', 'replace'))}".casefold()

    @cached_property
    def _decoded(self) -> dict[str, str | None]:
        return {}

    @cached_property
    def _values(self) -> dict[str, list[str]]:
        return {}

    @cached_property
    def _parameters(self) -> dict[str, list[str]]:
        """The first parameters: decoded names, values as they came."""
        found: dict[str, list[str]] = {}
        params = self._split[0].params
        if self._split[1] or params == b"-":
            return found
        head = params[:LOOKED_AT_BYTES].decode("ascii", "replace")
        for pair in head.split("&", LOOKED_AT_PARAMETERS)[:LOOKED_AT_PARAMETERS]:
            name, _, text = pair.partition("=")
            found.setdefault(_plain(name), []).append(text)
        return found

    @cached_property
    def _fields(self) -> dict[bytes, bytes]:
        fields: dict[bytes, bytes] = {}
        for pair in self._split[0].meta[:LOOKED_AT_BYTES].split(b"&", _META_KEYS)[:_META_KEYS]:
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


def whole_event(
    topic: str, partition: int, offset: int, record: tuple[int, bytes | None, bytes, tuple[tuple[str, bytes], ...]]
) -> dict[str, Any]:
    """Return all of a record (time, key, value, headers) for the detail pane; the keys are a promise to the page.

    Of meta and of params the first 1,000 pairs are decoded; `raw` holds all of them.
    """
    time_ms, key, value, headers = record
    whole: dict[str, Any] = {
        "topic": topic,
        "partition": partition,
        "offset": offset,
        "time_ms": time_ms,
        "key": None if key is None else printable(key),
        "headers": [[name, printable(content)] for name, content in headers],
        "type": "",
        "meta": [],
        "meta_left_out": 0,
        "params": [],
        "params_left_out": 0,
        "raw": printable(value),
        "invalid": None,
    }
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
    """Decode the first pairs, and tell how many were left out."""
    parts = encoded.split(b"&", WHOLE_PAIRS)
    left_out = parts[WHOLE_PAIRS].count(b"&") + 1 if len(parts) > WHOLE_PAIRS else 0
    head = b"&".join(parts[:WHOLE_PAIRS])
    return parse_qsl(head.decode("ascii", "replace"), keep_blank_values=True), left_out


def why_dead(headers: Iterable[tuple[str, bytes]]) -> str:
    """Return what the headers of a dead letter say of its end, cut: the stage and the reason."""
    given = dict(headers)
    parts = (given.get(name, b"")[:SHOWN_CHARS] for name in (names.HEADER_DEAD_STAGE, names.HEADER_DEAD_REASON))
    return ": ".join(printable(part) for part in parts if part) or "no reason given"


def printable(content: bytes) -> str:
    """Return bytes as text that loses nothing: what is not UTF-8 is written as backslash, x, two digits."""
    return content.decode("utf-8", "backslashreplace")


def _plain(text: str) -> str:
    return unquote_plus(text) if "%" in text or "+" in text else text


def whole_number(digits: bytes | None) -> int | None:
    """Read a number of ms, or a count; None when there is none, or one that no page can show."""
    # int() alone would take "1_0", spaces, and thousands of digits.
    if digits is None or len(digits) > _LONGEST_NUMBER or not digits.removeprefix(b"-").isdigit():
        return None
    number = int(digits)
    return number if abs(number) <= _HIGHEST_NUMBER else None
