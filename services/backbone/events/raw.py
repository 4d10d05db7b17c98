"""The queue's format: tracker -> Redis -> kafkastore."""

from typing import Final

import msgspec

from services.backbone.events.errors import InvalidEvent

LONGEST_ID: Final = 128
"""The longest id that a client may give to an event, in characters."""
_RAW_VERSION: Final = b"\x01"


class RawEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One event as the tracker received it. Parts of the HTTP request are the received bytes."""

    id: str
    received_at_ms: int
    """Time of receipt at the tracker, milliseconds since 1970 UTC."""
    address: str
    """The client's address as text. Empty without an address, and if the visitor opted out."""
    host: bytes
    pod: str
    """The tracker's own address."""
    path: bytes
    """Percent-encoded; its last segment is the event's type (type_of_path)."""
    query: bytes
    user_agent: bytes
    referrer: bytes
    opted_out: bool = False
    client_time_ms: int | None = None
    """The client's own time, corrected by its clock skew if the client sent it."""


_raw_encoder = msgspec.msgpack.Encoder()
_raw_decoder = msgspec.msgpack.Decoder(RawEvent)


def encode_raw(event: RawEvent) -> bytes:
    """Encode an entry of the Redis list: one version byte, then a msgpack array."""
    return _RAW_VERSION + _raw_encoder.encode(event)


def decode_raw(entry: bytes) -> RawEvent:
    """Decode an entry of the Redis list.

    Raises InvalidEvent when the bytes are not an entry or are of a version that this code does not know.
    """
    if entry[:1] != _RAW_VERSION:
        raise InvalidEvent(f"unknown entry version {entry[:1]!r}")
    try:
        return _raw_decoder.decode(memoryview(entry)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # UnicodeDecodeError: text that is not UTF-8. RecursionError: deeply nested lists.
        raise InvalidEvent(f"malformed entry: {error}") from error


def client_id(text: str) -> str | None:
    """Return a client's id without the quotes of a structured header, or None when it is invalid.

    A valid id has 1 to LONGEST_ID printable characters. An event with an invalid id is stored under a new id.
    """
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    return text if 0 < len(text) <= LONGEST_ID and text.isprintable() and "\ufffd" not in text else None
