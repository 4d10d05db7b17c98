"""Values of rows from foreign feeds: texts without markup, numbers, times, and the rows that are rejected."""

import datetime as dt
import html
import math
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TypeVar

_MOST_RAW_CHARS: Final = 20_000
"""The longest text whose markup is read. It bounds the time for one row."""
_MOST_SHOWN_CHARS: Final = 80
_BREAKING_TAGS: Final = frozenset({"br", "p", "div", "li", "tr", "td", "h1", "h2", "h3", "h4", "hr", "ul", "ol"})
_MARKUP: Final = re.compile(
    r"""<!--(?:-?>|.*?(?:-->|\Z))
    |<(?P<silent>script|style|template)(?=[\s/>])[^<>]*>.*?(?:</(?P=silent)(?=[\s/>])[^<>]*>|\Z)
    |<[!?][^<>]*>
    |</?(?P<tag>[a-z][^\s/<>]*+)(?:(?:[^<>"']++|"[^"<]*+"|'[^'<]*+')*+|[^<>]*+)>""",
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)
"""Each of its parts takes a time that is linear in the text: none of them reads on behind the next `<`, except to the
end. The parser of Python is quadratic."""
_JOINERS: Final = "\u200c\u200d"
"""The format characters that words and emoji need."""
_DECIMAL: Final = re.compile(r"[+-]?\d{1,3}(?:[.,]\d{1,20})?", re.ASCII)
_Row = TypeVar("_Row")
_Result = TypeVar("_Result")


class Rejection(NamedTuple):
    """A row that is not imported, or a remark on one, for operators."""

    id: str
    """Empty: the row has none."""
    field: str
    value: str
    """At most 80 characters."""
    reason: str


class InvalidRow(ValueError):
    """A row cannot become an offer. The other rows are not affected."""

    def __init__(self, field: str, value: object, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.value = value
        self.reason = reason


def rejection(row_id: str, error: InvalidRow) -> Rejection:
    """Return the entry for operators, with id and value cut."""
    return Rejection(shown(row_id), error.field, shown(error.value), error.reason)


def shown(value: object) -> str:
    """Return a value as a text of at most 80 characters, without line breaks."""
    # The representation of a large list is as long as the feed, so it is not built.
    if value is None:
        return ""
    text = value if isinstance(value, str) else repr(value) if isinstance(value, int | float) else _kind(value)
    text = visible_text(text[: 4 * _MOST_SHOWN_CHARS])
    return text if len(text) <= _MOST_SHOWN_CHARS else f"{text[: _MOST_SHOWN_CHARS - 1]}…"


def collect(
    rows: Iterable[_Row], make: Callable[[_Row], _Result | None], id_of: Callable[[_Row], str]
) -> tuple[list[_Result], list[Rejection]]:
    """Return what `make` makes of each row, and a rejection for each row for which it raises InvalidRow.

    A row for which `make` returns None is none of ours. A rejected row without an id has its number among `rows`.
    """
    made: list[_Result] = []
    rejections: list[Rejection] = []
    for at, row in enumerate(rows, 1):
        try:
            result = make(row)
        except InvalidRow as error:
            rejections.append(rejection(id_of(row) or f"(row {at})", error))
        else:
            if result is not None:
                made.append(result)
    return made, rejections


def plain_text(value: object, field: str) -> str:
    """Return a text without markup, character references and repeated whitespace. Numbers become texts, None is empty.

    Raises InvalidRow for another type, or for more than 20,000 characters.
    """
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise InvalidRow(field, value, "is not a text")
    if len(value) > _MOST_RAW_CHARS:
        raise InvalidRow(field, value, f"has {len(value)} characters; at most {_MOST_RAW_CHARS} are read")
    if "<" in value or "&" in value:
        value = html.unescape(_MARKUP.sub(_in_place_of_markup, value))
    return visible_text(value)


def id_text(value: object, field: str) -> str:
    """Return what identifies a row, with its markup: `<a@b>` and `<c@d>` differ. Whole numbers have one form: 1.0 is 1.

    Else it is as `plain_text`.
    """
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str) and len(value) <= _MOST_RAW_CHARS:
        return visible_text(value)
    return plain_text(value, field)


def visible_text(text: str) -> str:
    """Return a text without control and format characters, halves of pairs, and repeated whitespace.

    Such characters change how the rest of a line is shown, in pages and in terminals. A text of nothing else is empty.
    """
    if not text.isprintable():
        text = "".join(map(_visible, text))
    text = " ".join(text.split())
    return text if text.strip(f" {_JOINERS}") else ""


def number(value: object, field: str, *, decimal_comma: bool = False) -> float:
    """Return a coordinate or another number below 1,000 in its decimal form, which may be a text.

    `decimal_comma` permits a comma in place of the point. Raises InvalidRow; also for NaN and infinity.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        result = float(value)
    elif isinstance(value, str) and _DECIMAL.fullmatch(text := value.strip()) and (decimal_comma or "," not in text):
        result = float(text.replace(",", "."))
    else:
        raise InvalidRow(field, value, "is missing" if value in (None, "") else "is not a decimal number")
    if not math.isfinite(result):
        raise InvalidRow(field, value, "is not a finite number")
    return result


def time_ms(value: object, field: str, *, zone: dt.tzinfo, is_end: bool = False) -> int:
    """Return a time of ISO 8601 in ms since 1970. A date, or a time without an offset, is one of `zone`.

    A date is its begin, or with `is_end` the begin of the next day: what ends on a day takes place on it. Raises
    InvalidRow.
    """
    if not isinstance(value, str):
        raise InvalidRow(field, value, "is not a time")
    text = value.strip()
    try:
        parsed = dt.datetime.fromisoformat(text)
        if is_end and parsed.year < dt.MAXYEAR and _is_date(text):
            parsed += dt.timedelta(days=1)
        return round(1000 * (parsed if parsed.tzinfo else parsed.replace(tzinfo=zone)).timestamp())
    except (ValueError, OverflowError, OSError):
        raise InvalidRow(field, value, "is not a time such as 2026-11-23T10:00:00+01:00") from None


def at_path(value: Any, path: str) -> Any:
    """Return the value at a path of names and list positions with points between them, None if there is none."""
    for name in path.split("."):
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isascii() and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def hashtag(word: str) -> str:
    """Return a keyword in the form of the app: `#` and the letters and digits in lower case. Empty without any."""
    cleaned = re.sub(r"\W+", "", word).lower()
    return f"#{cleaned}" if cleaned else ""


def _is_date(text: str) -> bool:
    try:
        dt.date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _visible(character: str) -> str:
    kind = unicodedata.category(character)
    if kind == "Cf":
        return character if character in _JOINERS else ""
    return {"Cc": " ", "Cs": "?"}.get(kind, character)


def _kind(value: object) -> str:
    return f"({type(value).__name__})"


def _in_place_of_markup(found: re.Match[str]) -> str:
    return " " if (found["tag"] or "").lower() in _BREAKING_TAGS else ""
