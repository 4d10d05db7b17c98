"""The device of an event, and the digest by which a device is marked as erased. Pure: no I/O, no clock.

The operators' tool writes digests to Redis, kafkastore compares them with the entries that it claims.
"""

from hashlib import blake2b
from typing import Final

from services.backbone.events import RawEvent, encode_params, parameter

_DEVICE_ID: Final = "di"
_DIGEST_BYTES: Final = 16


def device_digest(device_id: str) -> bytes:
    """Return the digest that marks a device as erased: 16 bytes of BLAKE2b over its id in UTF-8.

    The digest can't be reversed. But a person who guesses an id can check whether this device was erased.
    """
    return blake2b(device_id.encode("utf-8", "replace"), digest_size=_DIGEST_BYTES).digest()


def device_of(params: str) -> str | None:
    """Return the device id of an event: the first parameter `di` of its query, decoded. None without one."""
    return parameter(params, _DEVICE_ID) or None


def is_erased(raw: RawEvent, erased: frozenset[bytes]) -> bool:
    """Return whether the device of an entry is in the set of erased devices, given by their digests."""
    if not erased:
        return False
    device_id = device_of(encode_params(raw.query))
    return device_id is not None and device_digest(device_id) in erased
