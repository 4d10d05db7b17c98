"""The two wire formats of an event and their encoders and decoders. Pure: no I/O, no clock.

RawEvent is what the tracker stores in Redis and kafkastore reads: internal, versioned, any bytes are preserved.
Event is a record of the Kafka topic: public, three fields separated by one space, also read by programs outside this
repository:

    <type> <meta> <params>

type is percent-encoded where needed, meta is `application/x-www-form-urlencoded`, params is the request's
query as received, or `-` without one.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote, quote_plus, unquote, unquote_plus, unquote_to_bytes

import msgspec

from services.backbone import names

EVENT_FORMAT_VERSION: Final = b"1"
UNKNOWN_LOCATION: Final = "XX"

FINGERPRINT_BYTES: Final = 8
LONGEST_ID: Final = 128
"""The most characters of an id that a client chooses."""
_ID_HEADER: Final = names.HEADER_EVENT_ID
# Every event is hashed. A copy takes two thirds of the time of a new digest with arguments.
_new_digest: Final = blake2b(digest_size=FINGERPRINT_BYTES).copy

# Keys of the second field (meta) of a record. encode_event writes them in the order of META_KEYS.
META_ID: Final = b"id"
META_RECEIVED_AT: Final = b"ts"
META_QUEUE_DELAY: Final = b"klag"
META_HOST: Final = b"host"
META_POD: Final = b"pod"
META_ADDRESS: Final = b"ip"
META_COUNTRY: Final = b"country"
META_CITY: Final = b"city"
META_DEVICE: Final = b"device"
META_BOT_NAME: Final = b"bot_name"
META_REFERRER: Final = b"ref"
META_CLIENT_TIME: Final = b"cts"
META_OPTED_OUT: Final = b"optout"

_RAW_VERSION: Final = b"\x01"
_NO_PARAMS: Final = b"-"
_NO_PARAMS_ESCAPED: Final = b"%2D"
_IMAGE_SUFFIXES: Final = (".gif", ".png", ".jpg", ".jpeg", ".webp", ".svg", ".ico")
# The characters that are never escaped: printable ASCII without the space, which separates the fields, and without
# the percent sign, which begins an escape.
_PLAIN: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")
_IPV4_DIGITS: Final = 8
_IPV6_DIGITS: Final = 32
_ADDRESS_DIGITS: Final = (_IPV4_DIGITS, _IPV6_DIGITS)
_UNPRINTABLE: Final = re.compile(rb"[^\x21-\x7e]")
# Text that needs no encoding, as most ids, hosts and types. The check takes a tenth of the time of an encoding.
_NEEDS_NO_FORM: Final = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch
_NEEDS_NO_ESCAPE: Final = re.compile(r"[\x21-\x24\x26-\x7e]+").fullmatch
_SHORT: Final = 512
"""The longest text in a cache, in characters. Clients choose these texts, and the caches must stay small."""


class InvalidEvent(ValueError):
    """The bytes can never become an event. A retry does not help: count them, keep them and continue."""


# The queue's format: tracker -> Redis -> kafkastore -----------------------------------------------------------


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
    """Return a client's id without the quotes of a structured header; None when it is invalid.

    A valid id has 1 to LONGEST_ID printable characters. An event with an invalid id is stored under a new id.
    """
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    return text if 0 < len(text) <= LONGEST_ID and text.isprintable() and "\ufffd" not in text else None


# The type of an event is the last non-empty segment of its path -------------------------------------------------


def type_of_path(path: bytes) -> str:
    """Return the event type of a path: its last non-empty segment, decoded, without a known image suffix.

    A path without any segment has the type `/`. Bytes that are not UTF-8 become U+FFFD. Never empty.
    """
    return _type_of_short_path(path) if len(path) <= _SHORT else _type_of_path(path)


def _type_of_path(path: bytes) -> str:
    segment = path.rstrip(b"/").rpartition(b"/")[2]
    if not segment:
        return "/"
    text = unquote_to_bytes(segment).decode("utf-8", "replace")
    stem, dot, suffix = text.rpartition(".")
    return stem if stem and dot + suffix.lower() in _IMAGE_SUFFIXES else text


def path_of_type(event_type: str) -> bytes:
    """Return the path whose type is `event_type`: the inverse of type_of_path, for events without a path.

    Raises InvalidEvent when the type is empty or is not valid Unicode text.
    """
    if not event_type:
        raise InvalidEvent("type is empty")
    # type_of_path removes an image suffix. Add one to a type that ends like an image.
    guard = ".gif" if event_type.lower().endswith(_IMAGE_SUFFIXES) else ""
    try:
        return b"/" + quote(event_type + guard, safe="").encode("ascii")
    except UnicodeEncodeError as error:
        raise InvalidEvent("type is not valid Unicode text") from error


# The topic's format: kafkastore -> Kafka -> every consumer ---------------------------------------------------------


class Location(msgspec.Struct, frozen=True, cache_hash=True):
    """The location of an address in the city database."""

    country: str = UNKNOWN_LOCATION
    """ISO 3166-1 alpha-2 code."""
    city: str = UNKNOWN_LOCATION


class Device(msgspec.Struct, frozen=True, cache_hash=True):
    """The device by its user agent. Empty text: unknown, and absent on the wire."""

    device: str = "other"
    """desktop, phone, tablet, tv, bot or other."""
    device_name: str = ""
    platform: str = ""
    platform_version: str = ""
    browser: str = ""
    browser_version: str = ""
    bot_name: str = ""


META_KEYS: Final = (
    *(META_ID, META_RECEIVED_AT, META_QUEUE_DELAY, META_HOST, META_POD, META_ADDRESS, META_COUNTRY, META_CITY),
    *(field.encode() for field in Device.__struct_fields__),
    *(META_REFERRER, META_CLIENT_TIME, META_OPTED_OUT),
)
"""All keys of meta, in the order of encode_event."""


class Event(msgspec.Struct, frozen=True):
    """One enriched event of the topic."""

    type: str
    id: str
    received_at_ms: int
    """Time of receipt at the tracker, milliseconds since 1970 UTC (`ts` on the wire)."""
    queue_delay_ms: int
    """Milliseconds between receipt and enrichment: the time spent in Redis (`klag` on the wire)."""
    host: str = ""
    pod: str = ""
    address: str = ""
    """8 hexadecimal digits for IPv4, 32 for IPv6, masked by IP_MODE. Empty without an address (`ip` on the wire)."""
    location: Location = Location()
    device: Device = Device()
    referrer: str = ""
    client_time_ms: int | None = None
    opted_out: bool = False
    params: str = ""
    """The received query, with all bytes outside printable ASCII percent-encoded. Empty without a query."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """A record to produce to a topic."""

    value: bytes
    key: bytes | None = None
    """Records with the same key are in one partition, in order. Records without a key are in any partition."""
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int | None = None


class EncodedEvent(NamedTuple):
    """The three fields of an event, split but not decoded. That is enough to read types."""

    type: bytes
    meta: bytes
    params: bytes


def encode_event(event: Event) -> bytes:
    """Encode the value of a record of the topic `events`."""
    return (
        f"{encode_type(event.type)} "
        f"id={_form(event.id)}&ts={event.received_at_ms}&klag={event.queue_delay_ms}"
        f"&host={_form(event.host)}&pod={_form(event.pod)}"
        f"{'&ip=' + event.address if event.address else ''}"
        f"&{_location_fields(event.location)}&{_device_fields(event.device)}"
        f"{'&ref=' + _form(event.referrer) if event.referrer else ''}"
        f"{'' if event.client_time_ms is None else f'&cts={event.client_time_ms}'}"
        f"{'&optout=1' if event.opted_out else ''}"
        f" {event.params or '-'}"
    ).encode("ascii")


def encode_params(query: bytes) -> str:
    """Encode a query for the third field: percent-encode all bytes outside printable ASCII."""
    if query == _NO_PARAMS:
        query = _NO_PARAMS_ESCAPED
    return _UNPRINTABLE.sub(lambda match: b"%%%02X" % match[0][0], query).decode("ascii")


def split_event(value: bytes) -> EncodedEvent:
    """Split a record's value into its three fields without decoding them. Raises InvalidEvent."""
    fields = value.split(b" ")
    if len(fields) != 3 or b"" in fields:  # noqa: PLR2004 - the three fields of the format
        raise InvalidEvent(f"expected three fields with one space between, found {len(fields)}")
    return EncodedEvent(*fields)


def meta_value(meta: bytes, key: bytes) -> bytes | None:
    """Return one encoded value of meta, or None. For readers that need only a few keys.

    Values are form-encoded. `meta_text` decodes text values.
    """
    sought = b"&" + key + b"="
    begin = (b"&" + meta).find(sought)
    if begin < 0:
        return None
    begin += len(sought) - 1  # the ampersand put before the first key is not in `meta`
    end = meta.find(b"&", begin)
    return meta[begin:] if end < 0 else meta[begin:end]


def fingerprint(event: EncodedEvent, key: bytes | None, headers: Iterable[tuple[str, bytes]]) -> bytes | None:
    """Return the fingerprint of an event, FINGERPRINT_BYTES long; None for an event without an id.

    Two records with the same fingerprint are the same event. The id is in the record's header. If the header is
    missing, the id in meta counts. Clients choose ids, so a client could send the id of another client's event. For
    this reason an id alone does not identify an event. The fingerprint covers the id and its scope:

    - the Kafka `key`, which is the device id or the client's address. An address and a device id with the same text are
      two scopes.
    - for an event without a key, the time of receipt. All writes of one entry have the same time. An event of another
      client with the same id has another time.

    This is the only function that decides whether two records are the same event. Code that counts or acts must use it,
    and must never drop an event because of its id alone. With n stored fingerprints, a new event has one of them with
    probability n / 2**64: with two million, once in about 10**13 events.
    """
    for name, value in headers:
        if name == _ID_HEADER and value:
            id_ = value
            break
    else:
        encoded = meta_value(event.meta, META_ID)
        if not encoded:
            return None
        id_ = unquote_to_bytes(encoded.replace(b"+", b" "))
    digest = _new_digest()
    # No scope is the beginning of another scope, so the border between scope and id is unambiguous.
    if not key:
        digest.update(b"ts=%b %b" % (meta_value(event.meta, META_RECEIVED_AT) or b"", id_))
    elif len(key) in _ADDRESS_DIGITS and (scope := b"&ip=" + key + b"&") in event.meta:  # `ip` is in the middle
        digest.update(scope + id_)
    else:
        digest.update(b"%d %b%b" % (len(key), key, id_))
    return digest.digest()


def meta_text(value: bytes) -> str:
    """Decode a value that `meta_value` returned. Bytes that are not UTF-8 become U+FFFD."""
    return unquote_plus(value.decode("ascii", "replace"))


def readable_address(digits: str) -> str:
    """Return the usual notation of an address of 8 (IPv4) or 32 (IPv6) hexadecimal digits.

    Other text is returned unchanged.
    """
    try:
        if len(digits) == _IPV4_DIGITS:
            return str(IPv4Address(int(digits, 16)))
        if len(digits) == _IPV6_DIGITS:
            return str(IPv6Address(int(digits, 16)))
    except ValueError:
        pass  # not hexadecimal
    return digits


def encode_type(event_type: str) -> str:
    """Percent-encode spaces, percent signs and all characters outside printable ASCII in a type."""
    return event_type if _NEEDS_NO_ESCAPE(event_type) else quote(event_type, safe=_PLAIN)


def decode_type(field: bytes) -> str:
    """Decode the first field of a record's value."""
    return unquote(field.decode("ascii", "replace"))


def parameters(params: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of a query, decoded and in order, with repeated keys and empty values."""
    return iter(parse_qsl(params, keep_blank_values=True))


def parameter(params: str, name: str) -> str | None:
    """Return the first value of one parameter of a query, or None if the query has no such parameter."""
    # Most queries do not contain the name: search before splitting.
    if name not in params and "%" not in params:
        return None
    # Decode only this parameter: kafkastore and consumers do this for each event.
    for pair in params.split("&"):
        key, _, value = pair.partition("=")
        if pair and (key == name or unquote_plus(key) == name):
            return unquote_plus(value)
    return None


def _form(text: str) -> str:
    """Encode a value of meta."""
    if _NEEDS_NO_FORM(text):
        return text
    return _form_of_short(text) if len(text) <= _SHORT else quote_plus(text)


# Pages, referrers, visitors and browsers repeat, so their encodings are cached. All caches are bounded.
_type_of_short_path = lru_cache(maxsize=16384)(_type_of_path)
_form_of_short = lru_cache(maxsize=16384)(quote_plus)


@lru_cache(maxsize=16384)
def _location_fields(location: Location) -> str:
    return f"country={quote_plus(location.country)}&city={quote_plus(location.city)}"


@lru_cache(maxsize=16384)
def _device_fields(device: Device) -> str:
    fields = ((name, getattr(device, name)) for name in device.__struct_fields__)
    return "&".join(f"{name}={quote_plus(text)}" for name, text in fields if text)
