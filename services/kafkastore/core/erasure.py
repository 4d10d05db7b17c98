"""Which entries belong to a device that is to be forgotten. The device itself is known by a digest only."""

from hashlib import blake2b
from typing import Final
from urllib.parse import quote, quote_plus, unquote_to_bytes

from services.backbone.events import InvalidEvent, RawEvent, decode_raw, encode_params, parameter

_DEVICE_ID: Final = "di"
_DIGEST_BYTES: Final = 16


def device_digest(device_id: str) -> bytes:
    """Return the 16 bytes by which a device is remembered as forgotten: BLAKE2b of its id in UTF-8.

    It can't be turned back, but whoever can guess an id can tell whether it is among the forgotten ones.
    """
    return blake2b(device_id.encode("utf-8", "replace"), digest_size=_DIGEST_BYTES).digest()


def device_of(params: str) -> str | None:
    """Return the device that an event names: the first parameter `di` of its query, decoded; None without one."""
    return parameter(params, _DEVICE_ID) or None


def is_erased(raw: RawEvent, erased: frozenset[bytes]) -> bool:
    """Tell whether the device of an entry is among those that are to be forgotten."""
    if not erased:
        return False
    device_id = device_of(encode_params(raw.query))
    return device_id is not None and device_digest(device_id) in erased


def belongs_to(entry: bytes, device_id: str) -> bool:
    """Tell whether an entry is of a device; one that can't be decoded is when its bytes hold the id.

    The id is looked for as it is and percent-encoded. A short id may be found in bytes that only look like it.
    """
    try:
        return is_erased(decode_raw(entry), frozenset((device_digest(device_id),)))
    except InvalidEvent:
        plain = device_id.encode("utf-8", "replace")
        written = {plain, quote(plain, safe="").encode(), quote_plus(plain).encode()}
        return any(form in entry for form in written) or plain in unquote_to_bytes(entry.replace(b"+", b" "))
