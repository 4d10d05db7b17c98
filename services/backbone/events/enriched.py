"""The topic's format: kafkastore -> Kafka -> every consumer."""

import re
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote_plus, unquote_plus, unquote_to_bytes

import msgspec

from services.backbone import names
from services.backbone.events.errors import InvalidEvent
from services.backbone.events.event_type import SHORT, encode_type
from services.backbone.record_headers import RecordHeaders, header_value

EVENT_FORMAT_VERSION: Final = b"1"
UNKNOWN_LOCATION: Final = "XX"

FINGERPRINT_BYTES: Final = 8
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

_NO_PARAMS: Final = b"-"
_NO_PARAMS_ESCAPED: Final = b"%2D"
_IPV4_DIGITS: Final = 8
_IPV6_DIGITS: Final = 32
_ADDRESS_DIGITS: Final = (_IPV4_DIGITS, _IPV6_DIGITS)
_UNPRINTABLE: Final = re.compile(rb"[^\x21-\x7e]")
# Text that needs no encoding, as most ids and hosts. The check takes a tenth of the time of an encoding.
_NEEDS_NO_FORM: Final = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch


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
    headers: tuple[tuple[str, bytes | None], ...] = ()
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


def fingerprint(event: EncodedEvent, key: bytes | None, headers: RecordHeaders) -> bytes | None:
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
    id_ = header_value(headers, _ID_HEADER)
    if not id_:
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
    return _form_of_short(text) if len(text) <= SHORT else quote_plus(text)


# Referrers, visitors and browsers repeat, so their encodings are cached. All caches are bounded.
_form_of_short = lru_cache(maxsize=16384)(quote_plus)


@lru_cache(maxsize=16384)
def _location_fields(location: Location) -> str:
    return f"country={quote_plus(location.country)}&city={quote_plus(location.city)}"


@lru_cache(maxsize=16384)
def _device_fields(device: Device) -> str:
    fields = ((name, getattr(device, name)) for name in device.__struct_fields__)
    return "&".join(f"{name}={quote_plus(text)}" for name, text in fields if text)
