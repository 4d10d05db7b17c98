"""Remove parameters by name from an event's query, at any depth.

A parameter has a path of steps. The parts of its name between brackets and dots are steps, and so are the members of
JSON objects. A name matches one step, or one step joined with its parents: `userid` removes `userId`, `user[id]`,
`user.id`, `user[0][id]` and `{"user": {"id": 7}}`, but not `superuserid`. Letter case, `_`, `-` and spaces are ignored.

A value may be JSON, one JSON text a line, or text with a query after its first `?`. These may contain each other to a
depth of 8. A value that begins like JSON but is invalid is removed if one of the names occurs in it. Other encodings,
such as Base64, are not decoded.

The work is bounded by steps (Budget), because clients choose how many parameters, members and lines a query has, and a
few kB of gzip can hold millions of them.
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from services.backbone.bodies import Malformed, query_of, read_json
from services.tracker.core.bodies import TooLarge

CONTEXT: Final = frozenset((b"context",))
"""Always removed: in `context` the Segment libraries send addresses and user agents, which the privacy settings do not
cover."""

MOST_STEPS: Final = 25_000
"""Steps to clean one query: at most 50 ms of work. A step is a parameter, a part of a long name, a member of a JSON
object, a JSON array, a line, or a text that may be JSON or hold a query."""
MOST_REQUEST_STEPS: Final = 400_000
"""Steps for all queries of one request: at most 1 s of work. A batch of 10,000 events with 20 parameters each has
200,000."""
_MOST_EXACT_BYTES: Final = 524_288
"""Bytes of one request in which the visitor's address is searched exactly: at most 1.3 s of work."""
_DEEPEST: Final = 8
_STEPS_JOINED: Final = 3
_STEP: Final = re.compile(r"[^\[\].]+")
_IGNORED: Final = str.maketrans("", "", "_- ")
_SHORT: Final = 64  # clients choose the names, so the cache holds short ones only
_JSON_BEGINS: Final = (b"{", b"[", b'"')
_JSON_ENDS: Final = (b"}", b"]", b'"')
_JSON_BEGINS_IN_TEXT: Final = ("{", "[", '"')
_MAY_NEST: Final = re.compile(rb'\A(?:\s|\+|%(?:0[9AaDd]|20))*(?:[\[{"]|%(?:5[Bb]|7[Bb]|22))|\?|%3[Ff]')
"""Matches the values that may hold JSON or a query."""
# A percent-encoded letter of `context`, or the percent-encoded backslash of a JSON escape.
_has_encoded_letter: Final = re.compile(rb"%(?:25)*(?:[46][35EeFf]|[57][48]|5[Cc])").search

_UNIT: Final = "parameters, members and lines"

NamePath = tuple[str, ...]
"""The last steps of a value's path, in lower case and without ignored characters."""


class Budget:
    """The work that remains for all events of one request."""

    __slots__ = ("_exact_bytes", "_floor", "_left")

    def __init__(self) -> None:
        self._exact_bytes = _MOST_EXACT_BYTES
        self._left = MOST_REQUEST_STEPS
        self._floor = 0

    def begin_query(self) -> None:
        """Allow MOST_STEPS for the next query, or fewer when the request has fewer left."""
        self._floor = max(0, self._left - MOST_STEPS)

    def spend(self, steps: int) -> None:
        """Take steps. Raises TooLarge when none are left."""
        self._left -= steps
        if self._left >= self._floor:
            return
        self._left = self._floor  # a query that is refused at once does not use up the steps of the others
        if self._floor:
            raise TooLarge("the event", MOST_STEPS, "not a setting", _UNIT)
        raise TooLarge("the request", MOST_REQUEST_STEPS, "not a setting", _UNIT)

    def may_read_exactly(self, size: int) -> bool:
        """Return whether the visitor's address may be searched exactly in `size` more bytes (erase_address)."""
        self._exact_bytes -= size
        return self._exact_bytes >= 0


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


@lru_cache(maxsize=4096)  # few different names occur, each of them often
def _path_of_short_name(names: frozenset[str], name: bytes) -> NamePath | None:
    return _extend_path(names, (), _decode(name).decode("utf-8", "replace"))


class _Removed(Exception):
    """Raised for a value that must be removed with its parameter."""


def without_context(query: bytes, budget: Budget | None = None) -> bytes:
    """Remove `context` from a query. Fast for queries without it. Raises TooLarge."""
    # `find` takes a third of the time of `in`, which first tries to read its left side as a number.
    if query.lower().find(b"context") < 0 and (query.find(b"%") < 0 or _has_encoded_letter(query) is None):
        return query
    return without_parameters(query, CONTEXT, budget)


def without_parameters(query: bytes, names: frozenset[bytes], budget: Budget | None = None) -> bytes:
    """Remove the named parameters from a query. Other parameters stay unchanged. Raises TooLarge."""
    budget = budget or Budget()
    budget.begin_query()
    return _Remover(_plain_names(names), budget).query(query, 0)


@lru_cache(maxsize=16)
def _plain_names(names: frozenset[bytes]) -> frozenset[str]:
    return frozenset(plain for name in names if (plain := _plain(name.decode("utf-8", "replace"))))


def _plain(text: str) -> str:
    return text.lower().translate(_IGNORED)


def _decode(data: bytes) -> bytes:
    return unquote_to_bytes(data.replace(b"+", b" "))


class _Remover:
    """Removes the parameters that match `names`, which are in lower case and without ignored characters."""

    def __init__(self, names: frozenset[str], budget: Budget) -> None:
        self._names = names
        self._spend = budget.spend

    def query(self, query: bytes, depth: int) -> bytes:
        """Return a query without the named parameters."""
        self._spend(query.count(b"&") + 1)
        pairs = (self._pair(pair, depth) for pair in query.split(b"&"))
        return b"&".join(pair for pair in pairs if pair is not None)

    def _pair(self, pair: bytes, depth: int) -> bytes | None:
        name, _, value = pair.partition(b"=")
        if len(name) <= _SHORT:
            path = _path_of_short_name(self._names, name)
        else:
            path = self._extend((), _decode(name).decode("utf-8", "replace"))
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

    def _extend(self, path: NamePath, name: str) -> NamePath | None:
        if len(name) > _SHORT:
            self._spend(name.count(".") + name.count("[") + name.count("]"))
        return _extend_path(self._names, path, name)

    def _text(self, text: bytes, path: NamePath, depth: int) -> bytes:
        """Clean a value that may hold JSON or a query. Raises _Removed."""
        self._spend(1)
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
            if not stripped.endswith(_JSON_ENDS):
                return self._lines(stripped, text, path, depth)
            value = read_json(stripped)
            cleaned = self._value(value, path, depth)
            if cleaned == value:
                return text
            return json.dumps(cleaned, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        except RecursionError:
            return self._unread(text)
        except Malformed:
            return self._lines(stripped, text, path, depth)

    def _lines(self, stripped: bytes, text: bytes, path: NamePath, depth: int) -> bytes:
        """Clean text that is not one JSON text. Raises _Removed."""
        if b"\n" not in stripped:
            return self._unread(text)
        self._spend(stripped.count(b"\n"))
        return b"\n".join([self._text(line, path, depth + 1) for line in stripped.split(b"\n")])

    def _value(self, value: Any, path: NamePath, depth: int) -> Any:
        if isinstance(value, dict):
            self._spend(len(value) + 1)
            return dict(self._members(value, path, depth))
        if isinstance(value, list):
            self._spend(1)
            return list(self._items(value, path, depth))
        if isinstance(value, str) and ("?" in value or value.lstrip().startswith(_JSON_BEGINS_IN_TEXT)):
            return self._text(value.encode("utf-8", "replace"), path, depth + 1).decode("utf-8", "replace")
        return value

    def _members(self, members: dict[str, Any], path: NamePath, depth: int) -> Iterator[tuple[str, Any]]:
        for name, value in members.items():
            inner = self._extend(path, name)
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
        if any(name in plain for name in self._names):
            raise _Removed
        return text
