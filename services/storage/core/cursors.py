"""The cursor of a list: the sort values of the last object of a page. Clients treat it as opaque."""

import base64
import binascii
from typing import NamedTuple

import msgspec

from services.storage.core.extras import InvalidValue, check_text

_MAX_CHARACTERS = 4096


class Cursor(NamedTuple):
    """The position after an object in a list. Objects that are inserted meanwhile do not move it."""

    rank: int
    joined: str
    """The joined keywords as the list compares them."""
    object_id: str


def encode_cursor(cursor: Cursor) -> str:
    """Return the form of a cursor for a query."""
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def parse_cursor(text: str) -> Cursor:
    """Return the cursor. Raises InvalidValue unless `encode_cursor` can have made it."""
    try:
        if len(text) > _MAX_CHARACTERS:
            raise InvalidValue("is too long")
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        cursor = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=Cursor)
        check_text(cursor.joined + cursor.object_id)
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise InvalidValue("is not a value of `next` in a response") from None
    if not 0 <= cursor.rank <= 64:  # noqa: PLR2004 - there are at most 32 keys
        raise InvalidValue("is not a value of `next` in a response")
    return cursor
