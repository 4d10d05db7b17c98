"""Values without a schema, such as `extdata`: what the database can hold, and how keys are stored.

BSON and MongoDB give a meaning to `$` and `.` in keys, and cannot hold NUL in them: a driver reads a document with
`$ref` as a reference. So these characters are stored as percent escapes, and clients read them as they sent them.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

MAX_DEPTH: Final = 20
"""The deepest nesting. MongoDB allows 100."""
_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1
_ESCAPED: Final = re.compile(r"[%$.\x00]")
_ESCAPE: Final = re.compile(r"%(25|24|2E|00)")


class InvalidValue(ValueError):
    """The database cannot hold the value."""


def check_text(text: str) -> str:
    """Return the text. Raises InvalidValue for a lone surrogate, which has no encoding."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidValue("it contains half of a surrogate pair") from None
    return text


def store_extras(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object as it is stored. Raises InvalidValue."""
    stored = _store(value, 0)
    assert isinstance(stored, dict)  # noqa: S101 - for mypy: an object stays an object
    return stored


def read_extras(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `store_extras` stored, as the client sent it."""
    value = _read(stored)
    assert isinstance(value, dict)  # noqa: S101 - as above
    return value


def _store(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise InvalidValue(f"it is nested deeper than {MAX_DEPTH} levels")
    match value:
        case str():
            return check_text(value)
        case bool() | None:
            return value
        case int():
            if not _MIN_INT <= value <= _MAX_INT:
                raise InvalidValue("it contains an integer of more than 64 bits")
            return value
        case float():
            if not math.isfinite(value):
                raise InvalidValue("it contains a number that is not finite")
            return value
        case list():
            return [_store(each, depth + 1) for each in value]
        case Mapping():
            return {
                _ESCAPED.sub(lambda found: f"%{ord(found[0]):02X}", check_text(key)): _store(each, depth + 1)
                for key, each in value.items()
            }
    raise InvalidValue(f"it contains a {type(value).__name__}")


def _read(stored: Any) -> Any:
    match stored:
        case list():
            return [_read(each) for each in stored]
        case Mapping():
            return {_ESCAPE.sub(lambda found: chr(int(found[1], 16)), key): _read(each) for key, each in stored.items()}
    return stored
