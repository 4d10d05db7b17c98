"""MissingFields: the paths of a mapping that no row of a run has, such as a misspelt column."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from services.offerserver.core.values import Rejection, at_path, shown
from services.offerserver.importers.mapping import FieldMapping
from services.offerserver.importers.rows import FeedRow

_NAMED_ROWS: Final = 20
"""The names of the first rows are shown."""
_MOST_NAMES: Final = 30


class MissingFields:
    """Sees the rows of a run."""

    def __init__(self, fields: FieldMapping) -> None:
        self._left = dict(_paths(fields))
        self._names: dict[str, None] = {}
        self._rows = 0

    def seen(self, rows: Iterable[FeedRow]) -> Iterator[FeedRow]:
        """Yield the rows as they are."""
        for row in rows:
            self._rows += 1
            if self._rows <= _NAMED_ROWS:
                self._names.update(dict.fromkeys(_names(row)))
            for key in [key for key, path in self._left.items() if at_path(row, path) not in (None, "", [])]:
                del self._left[key]
            yield row

    def remarks(self) -> tuple[Rejection, ...]:
        """Return a remark for each path without a value in any row. Empty if there were no rows."""
        if not self._rows:
            return ()
        have = ", ".join(list(self._names)[:_MOST_NAMES])
        return tuple(
            Rejection("", f"fields.{key}", shown(path), f"no row has {path!r} (rows have: {have})")
            for key, path in self._left.items()
        )


def _paths(fields: FieldMapping) -> Iterator[tuple[str, str]]:
    """Yield key and path of what the operator wrote, and of what each row needs."""
    needed = {"id", "text"} | (set() if fields.location_name else {"latitude", "longitude"})
    for key in [name for name in type(fields).model_fields if name in needed | fields.model_fields_set]:
        value: Any = getattr(fields, key)
        if isinstance(value, str):
            yield key, value
        elif isinstance(value, tuple):
            yield from ((key if len(value) == 1 else f"{key}.{at}", path) for at, path in enumerate(value))
        elif value is not None:
            yield from ((f"{key}.{name}", path) for name, path in value.items())


def _names(row: FeedRow) -> Iterator[str]:
    for name, value in row.items():
        if isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in value)
        else:
            yield str(name)
