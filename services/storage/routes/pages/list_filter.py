"""The filter of a list page: the parameters of the API, and what a form adds to them.

- `keywords`: several keywords, separated by commas; the API has one `keywords[]` for each
- `valid=any`: also objects that are not valid now
- `with`: the id of an object of the other kind, for which one of this list is chosen
- `rows_before`: the number of rows before a cursor, to show the position
- a parameter without a value is ignored, because a form sends all its fields
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlencode

from services.storage.core.fields import FieldError, InvalidInput
from services.storage.core.filters import (
    MAX_LIST,
    MAX_PAGE,
    ListFilter,
    Page,
    Parameters,
    is_id,
    parse_filter,
    parse_page,
)

_MAX_ROWS_BEFORE: Final = MAX_LIST * MAX_PAGE
FIELDS: Final = (
    "keywords",
    "owner",
    "valid",
    "is_active",
    "center[latitude]",
    "center[longitude]",
    "radius",
)
"""The fields of the form, in their order."""
_BOX: Final = ("sw[latitude]", "sw[longitude]", "ne[latitude]", "ne[longitude]")
_MORE: Final = ("not_owner", "_id", "trusted", "limit", *_BOX)
"""Parameters of the API that the form has no field for. It keeps them."""
_POSITION: Final = ("page", "next", "rows_before")
_NAMES: Final = {"not_owner": "without the owner", "_id": "id", "trusted": "trusted", "limit": "rows a page"}


class ListRequest(NamedTuple):
    """A list page that was asked."""

    values: Mapping[str, str]
    """The value of each parameter, as typed."""

    @classmethod
    def of(cls, parameters: Parameters) -> "ListRequest":
        """Return the request of a query."""
        given = {name: [value for value in values if value.strip()] for name, values in parameters.items()}
        known = (name for name in (*FIELDS, *_MORE, *_POSITION, "with") if given.get(name))
        values = {name: given[name][-1].strip() for name in known}
        keywords = [*given.get("keywords[]", ()), *given.get("keywords", ())]
        if keywords:
            values["keywords"] = ", ".join(dict.fromkeys(_split(keywords)))
        return cls(values)

    def parse(self) -> tuple[ListFilter, Page]:
        """Return the filter and the part of the list. Raises InvalidInput."""
        values = self.values
        parameters: dict[str, list[str]] = {name: [value] for name, value in values.items() if name != "keywords"}
        parameters["keywords[]"] = _split([values.get("keywords", "")])
        if "radius" in values and "center[latitude]" not in values and "center[longitude]" not in values:
            raise InvalidInput(FieldError("center[latitude]", "is required with a radius"))
        if values.get("valid", "now") not in ("now", "any"):
            raise InvalidInput(FieldError("valid", "must be now or any"))
        if "with" in values and not is_id(values["with"]):
            raise InvalidInput(FieldError("with", "must be 24 hexadecimal digits"))
        wanted = parse_filter(parameters)
        return wanted._replace(only_valid=values.get("valid") != "any"), parse_page(parameters)

    def rows_before(self, page: Page) -> int:
        """Return the number of rows before this part of the list."""
        if page.cursor is None:
            return page.number * page.limit
        text = self.values.get("rows_before", "")
        return min(int(text), _MAX_ROWS_BEFORE) if re.fullmatch("[0-9]{1,8}", text) else page.limit

    def query(self, **changes: str | None) -> str:
        """Return the query of the list with other parameters; None removes one. It begins on the first page."""
        values = {name: value for name, value in self.values.items() if name not in _POSITION}
        values |= {name: value for name, value in changes.items() if value is not None}
        removed = {name for name, value in changes.items() if value is None}
        text = urlencode({name: value for name, value in values.items() if name not in removed})
        return f"?{text}" if text else "?"

    @property
    def is_filtered(self) -> bool:
        """Whether it leaves any object out but those that are not valid."""
        return any(name in self.values for name in (*FIELDS, *_MORE) if name not in ("valid", "limit"))

    @property
    def kept(self) -> dict[str, str]:
        """The parameters that the form keeps in hidden fields."""
        return {name: self.values[name] for name in (*_MORE, "with") if name in self.values}

    @property
    def more(self) -> list[tuple[str, str, str]]:
        """The filters without a field: name, value, and the query without it."""
        values = self.values
        found = [(_NAMES[name], values[name], self.query(**{name: None})) for name in _NAMES if name in values]
        if any(name in values for name in _BOX):
            south, west, north, east = (values.get(name, "?") for name in _BOX)
            found.append(("in the box", f"{south}, {west} to {north}, {east}", self.query(**dict.fromkeys(_BOX))))
        return found


def _split(texts: list[str]) -> list[str]:
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]
