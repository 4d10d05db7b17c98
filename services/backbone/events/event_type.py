"""The type of an event: the last non-empty segment of its path, and the first field of its record."""

import re
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote, unquote_to_bytes

from services.backbone.events.errors import InvalidEvent

SHORT: Final = 512
"""The longest text in a cache, in characters. Clients choose these texts, and the caches must stay small."""

_IMAGE_SUFFIXES: Final = (".gif", ".png", ".jpg", ".jpeg", ".webp", ".svg", ".ico")
# The characters that are never escaped: printable ASCII without the space, which separates the fields, and without
# the percent sign, which begins an escape.
_PLAIN: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")
# Text that needs no encoding, as most types. The check takes a tenth of the time of an encoding.
_NEEDS_NO_ESCAPE: Final = re.compile(r"[\x21-\x24\x26-\x7e]+").fullmatch


def type_of_path(path: bytes) -> str:
    """Return the event type of a path: its last non-empty segment, decoded, without a known image suffix.

    A path without any segment has the type `/`. Bytes that are not UTF-8 become U+FFFD. Never empty.
    """
    return _type_of_short_path(path) if len(path) <= SHORT else _type_of_path(path)


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


def encode_type(event_type: str) -> str:
    """Percent-encode spaces, percent signs and all characters outside printable ASCII in a type."""
    return event_type if _NEEDS_NO_ESCAPE(event_type) else quote(event_type, safe=_PLAIN)


def decode_type(field: bytes) -> str:
    """Decode the first field of a record's value."""
    return unquote(field.decode("ascii", "replace"))


# Pages repeat, so their types are cached.
_type_of_short_path = lru_cache(maxsize=16384)(_type_of_path)
