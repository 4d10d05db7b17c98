"""Remove parameters by name from what an event keeps, wherever in its query they stand.

A name is matched against each step of a parameter's path, and against the step with its parents in front: `userid`
removes `userId`, `user[id]`, `user.id`, `user[0][id]` and `{"user": {"id": 7}}`, but not `superuserid`. Letter case,
`_`, `-` and spaces are ignored. Steps are the parts of a name between brackets and dots, and the members of JSON
objects. Values are read as JSON, as one JSON text a line, or as text with a query behind its first `?`, inside each
other to a depth of 8. A value that begins like JSON but can't be read is removed if one of the names occurs in it.
Other encodings, such as Base64, are not read.
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from services.tracker.core.bodies import Malformed, query_of, read_json

CONTEXT: Final = frozenset((b"context",))
"""Where the Segment libraries put addresses and user agents, out of reach of the privacy settings: never kept."""

_DEEPEST: Final = 8
_STEPS_JOINED: Final = 3
_STEP: Final = re.compile(r"[^\[\].]+")
_IGNORED: Final = str.maketrans("", "", "_- ")
_SHORT: Final = 64  # visitors choose names, and a cache must stay small
_JSON_BEGINS: Final = (b"{", b"[", b'"')
_JSON_BEGINS_IN_TEXT: Final = ("{", "[", '"')
_MAY_NEST: Final = re.compile(rb'\A(?:\s|\+|%(?:0[9AaDd]|20))*(?:[\[{"]|%(?:5[Bb]|7[Bb]|22))|\?|%3[Ff]')
"""What the value of a parameter is that holds JSON or a query."""
# An encoded letter of `context`, or the backslash by which JSON encodes letters.
_ENCODED_LETTER: Final = re.compile(rb"(?i)%(?:25)*(?:[46][35ef]|[57][48]|5c)")

NamePath = tuple[str, ...]
"""The last steps of the path where a value stands, plain."""


def _extend_path(names: frozenset[str], parents: NamePath, name: str) -> NamePath | None:
    """Return the path of what is called `name`; None when it is a named one."""
    path = parents
    for step in _STEP.findall(name):
        plain = _plain(step)
        if not plain or plain.isdigit():  # an index of a list
            continue
        path = (*path[1 - _STEPS_JOINED :], plain)
        if any("".join(path[begin:]) in names for begin in range(len(path))):
            return None
    return path


def _path_of_name(names: frozenset[str], name: bytes) -> NamePath | None:
    return _extend_path(names, (), _decode(name).decode("utf-8", "replace"))


# Names of parameters are few and come over and over.
_path_of_short_name = lru_cache(maxsize=4096)(_path_of_name)


class _Removed(Exception):
    """The value is not kept."""


def without_context(query: bytes) -> bytes:
    """Remove `context` from a query. Cheap where it does not occur."""
    if b"context" not in query.lower() and not (b"%" in query and _ENCODED_LETTER.search(query)):
        return query
    return without_parameters(query, CONTEXT)


def without_parameters(query: bytes, names: frozenset[bytes]) -> bytes:
    """Remove the named parameters from a query; all others stay as they came."""
    return _Remover(_plain_names(names)).query(query, 0)


@lru_cache(maxsize=16)
def _plain_names(names: frozenset[bytes]) -> frozenset[str]:
    return frozenset(plain for name in names if (plain := _plain(name.decode("utf-8", "replace"))))


def _plain(text: str) -> str:
    return text.lower().translate(_IGNORED)


def _decode(data: bytes) -> bytes:
    return unquote_to_bytes(data.replace(b"+", b" "))


class _Remover(NamedTuple):
    """Removes parameters of these plain names."""

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
        """Keep a text that can't be read unless a name occurs in it."""
        plain = _plain(text.decode("utf-8", "replace"))
        if any(name in plain for name in self.names):
            raise _Removed
        return text
