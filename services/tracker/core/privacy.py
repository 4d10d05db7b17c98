"""Remove parameters by name from an event's query, at any depth.

A parameter has a path of steps. The parts of its name between brackets and dots are steps, and so are the members of
JSON objects. A name matches one step, or one step joined with its parents: `userid` removes `userId`, `user[id]`,
`user.id`, `user[0][id]` and `{"user": {"id": 7}}`, but not `superuserid`. Letter case, `_`, `-` and spaces are ignored.

A value may be JSON, one JSON text a line, or text with a query after its first `?`. These may contain each other to a
depth of 8. A value that begins like JSON but is invalid is removed if one of the names occurs in it. Other encodings,
such as Base64, are not decoded.
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from services.tracker.core.bodies import Malformed, query_of, read_json

CONTEXT: Final = frozenset((b"context",))
"""Always removed: in `context` the Segment libraries send addresses and user agents, which the privacy settings do not
cover."""

_DEEPEST: Final = 8
_STEPS_JOINED: Final = 3
_STEP: Final = re.compile(r"[^\[\].]+")
_IGNORED: Final = str.maketrans("", "", "_- ")
_SHORT: Final = 64  # clients choose the names, so the cache holds short ones only
_JSON_BEGINS: Final = (b"{", b"[", b'"')
_JSON_BEGINS_IN_TEXT: Final = ("{", "[", '"')
_MAY_NEST: Final = re.compile(rb'\A(?:\s|\+|%(?:0[9AaDd]|20))*(?:[\[{"]|%(?:5[Bb]|7[Bb]|22))|\?|%3[Ff]')
"""Matches the values that may hold JSON or a query."""
# A percent-encoded letter of `context`, or the percent-encoded backslash of a JSON escape.
_ENCODED_LETTER: Final = re.compile(rb"(?i)%(?:25)*(?:[46][35ef]|[57][48]|5c)")

NamePath = tuple[str, ...]
"""The last steps of a value's path, in lower case and without ignored characters."""


def _extend_path(names: frozenset[str], parents: NamePath, name: str) -> NamePath | None:
    """Extend a path by the steps of `name`. Return None when the path matches one of `names`."""
    path = parents
    for step in _STEP.findall(name):
        plain = _plain(step)
        if not plain or plain.isdigit():  # a list index
            continue
        path = (*path[1 - _STEPS_JOINED :], plain)
        if any("".join(path[begin:]) in names for begin in range(len(path))):
            return None
    return path


def _path_of_name(names: frozenset[str], name: bytes) -> NamePath | None:
    return _extend_path(names, (), _decode(name).decode("utf-8", "replace"))


# Few different names occur, each of them often.
_path_of_short_name = lru_cache(maxsize=4096)(_path_of_name)


class _Removed(Exception):
    """Raised for a value that must be removed with its parameter."""


def without_context(query: bytes) -> bytes:
    """Remove `context` from a query. Fast for queries without it."""
    # `find` takes a third of the time of `in`, which first tries to read its left side as a number.
    if query.lower().find(b"context") < 0 and (query.find(b"%") < 0 or not _ENCODED_LETTER.search(query)):
        return query
    return without_parameters(query, CONTEXT)


def without_parameters(query: bytes, names: frozenset[bytes]) -> bytes:
    """Remove the named parameters from a query. Other parameters stay unchanged."""
    return _Remover(_plain_names(names)).query(query, 0)


@lru_cache(maxsize=16)
def _plain_names(names: frozenset[bytes]) -> frozenset[str]:
    return frozenset(plain for name in names if (plain := _plain(name.decode("utf-8", "replace"))))


def _plain(text: str) -> str:
    return text.lower().translate(_IGNORED)


def _decode(data: bytes) -> bytes:
    return unquote_to_bytes(data.replace(b"+", b" "))


class _Remover(NamedTuple):
    """Removes the parameters that match `names`, which are in lower case and without ignored characters."""

    names: frozenset[str]

    def query(self, query: bytes, depth: int) -> bytes:
        """Return a query without the named parameters."""
        pairs = (self._pair(pair, depth) for pair in query.split(b"&"))
        return b"&".join(pair for pair in pairs if pair is not None)

    def _pair(self, pair: bytes, depth: int) -> bytes | None:
        name, _, value = pair.partition(b"=")
        path = (_path_of_short_name if len(name) <= _SHORT else _path_of_name)(self.names, name)
        if path is None:
            return None
        if not _MAY_NEST.search(value):
            return pair
        decoded = _decode(value)
        try:
            cleaned = self._text(decoded, path, depth)
        except _Removed:
            return None
        return pair if cleaned == decoded else query_of([(_decode(name), cleaned)])

    def _text(self, text: bytes, path: NamePath, depth: int) -> bytes:
        """Clean a value that may hold JSON or a query. Raises _Removed."""
        stripped = text.strip()
        if stripped.startswith(_JSON_BEGINS):
            return self._json(stripped, text, path, depth)
        page, mark, query = text.partition(b"?")
        if not mark or b"=" not in query:
            return text
        if depth >= _DEEPEST:
            return self._unread(text)
        return page + mark + self.query(query, depth + 1)

    def _json(self, stripped: bytes, text: bytes, path: NamePath, depth: int) -> bytes:
        if depth >= _DEEPEST:
            return self._unread(text)
        try:
            value = read_json(stripped)
            cleaned = self._value(value, path, depth)
            if cleaned == value:
                return text
            return json.dumps(cleaned, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        except RecursionError:
            return self._unread(text)
        except Malformed:
            lines = stripped.split(b"\n")
            if len(lines) == 1:
                return self._unread(text)
            return b"\n".join(self._text(line, path, depth + 1) for line in lines)

    def _value(self, value: Any, path: NamePath, depth: int) -> Any:
        if isinstance(value, dict):
            return dict(self._members(value, path, depth))
        if isinstance(value, list):
            return list(self._items(value, path, depth))
        if isinstance(value, str) and ("?" in value or value.lstrip().startswith(_JSON_BEGINS_IN_TEXT)):
            return self._text(value.encode("utf-8", "replace"), path, depth + 1).decode("utf-8", "replace")
        return value

    def _members(self, members: dict[str, Any], path: NamePath, depth: int) -> Iterator[tuple[str, Any]]:
        for name, value in members.items():
            inner = _extend_path(self.names, path, name)
            if inner is None:
                continue
            try:
                yield name, self._value(value, inner, depth)
            except _Removed:
                continue

    def _items(self, items: list[Any], path: NamePath, depth: int) -> Iterator[Any]:
        for item in items:
            try:
                yield self._value(item, path, depth)
            except _Removed:
                continue

    def _unread(self, text: bytes) -> bytes:
        """Return invalid text unchanged. Raises _Removed when one of the names occurs in it."""
        plain = _plain(text.decode("utf-8", "replace"))
        if any(name in plain for name in self.names):
            raise _Removed
        return text
