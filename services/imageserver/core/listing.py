"""The list of assets for operators: its parameters and its cursors."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from services.imageserver.core.assets import Asset
from services.imageserver.core.keys import parse_key

PER_PAGE: Final = 10
MOST_PER_PAGE: Final = 100
_LEAST_PREFIX: Final = 6
_CURSOR: Final = re.compile(r"(\d{1,16})\.([0-9a-f]{64})", re.ASCII)
_PREFIX: Final = re.compile(rf"[0-9a-f]{{{_LEAST_PREFIX},63}}", re.ASCII)


class InvalidListRequest(ValueError):
    """A parameter of the list is wrong. The message names it, its value, and what is allowed."""


class AssetCursor(NamedTuple):
    """The last asset of a page. The list is in the order of time and id, both descending."""

    created_ms: int
    asset_id: str

    @classmethod
    def of(cls, asset: Asset) -> "AssetCursor":
        """Return the cursor behind an asset."""
        return cls(asset.created_ms, asset.id)

    def __str__(self) -> str:
        return f"{self.created_ms}.{self.asset_id}"


class AssetQuery(NamedTuple):
    """Which assets a page shows."""

    name: str = ""
    """An id, a key or a number of the old system, or the first 6 digits or more of one. Empty: all."""
    is_prefix: bool = False
    """Names that begin with `name` match too. Six decimal digits may be a number, and the begin of an id."""
    from_ms: int | None = None
    until_ms: int | None = None
    """The time of the upload is before this."""
    after: AssetCursor | None = None
    per_page: int = PER_PAGE


def parse_query(parameters: Mapping[str, str]) -> AssetQuery:
    """Return the query of `q`, `date`, `after` and `per_page`. Raises InvalidListRequest."""
    text, date = parameters.get("q", "").strip().lower(), parameters.get("date", "").strip()
    text = text.removeprefix("/assets/images/").partition("/")[0]
    is_prefix = _PREFIX.fullmatch(text) is not None
    if text and not is_prefix and parse_key(text) is None:
        raise InvalidListRequest(f'"{text[:80]}" is no id or key. Enter at least its first {_LEAST_PREFIX} digits.')
    from_ms, until_ms = _day(date) if date else (None, None)
    return AssetQuery(text, is_prefix, from_ms, until_ms, _cursor(parameters.get("after", "")), _per_page(parameters))


def _day(date: str) -> tuple[int, int]:
    try:
        begin = datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC)
        end = begin + timedelta(days=1)
    except (ValueError, OverflowError):
        raise InvalidListRequest(f'"{date[:80]}" is no date. Write it like 2026-11-23.') from None
    return round(1000 * begin.timestamp()), round(1000 * end.timestamp())


def _cursor(text: str) -> AssetCursor | None:
    if not text:
        return None
    found = _CURSOR.fullmatch(text)
    if found is None:
        raise InvalidListRequest(f'"{text[:80]}" is not the end of a page. Begin with the first page.')
    return AssetCursor(int(found[1]), found[2])


def _per_page(parameters: Mapping[str, str]) -> int:
    text = parameters.get("per_page", "") or str(PER_PAGE)
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MOST_PER_PAGE):
        raise InvalidListRequest(f'per_page is "{text[:80]}". It is a number from 1 to {MOST_PER_PAGE}.')
    return int(text)
