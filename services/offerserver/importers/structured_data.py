"""Events of schema.org in the JSON-LD of a page (https://schema.org/Event)."""

import html
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from services.offerserver.core.importer import FeedDocument
from services.offerserver.core.values import at_path
from services.offerserver.importers.rows import FeedRow, FeedRows, json_values

_TYPE: Final = "application/ld+json"
_SCRIPT: Final = re.compile(
    r"""<!--(?:-?>|.*?(?:-->|\Z))|<script(?=[\s/>])(?P<attributes>[^<>]*)>(?P<content>.*?)(?:</script(?=[\s/>])|\Z)""",
    re.DOTALL | re.IGNORECASE,
)
"""A comment or a script. It takes a time that is linear in the page, which the parser of Python does not."""
_TYPE_ATTRIBUTE: Final = re.compile(r"""(?:^|[\s"'])type\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"']+))""", re.IGNORECASE)
_MOST_SCRIPTS: Final = 200
_CANCELLED: Final = "EventCancelled"


class StructuredRows(FeedRows):
    """Yields events as they are, with an `id`, and `latitude` and `longitude` if the location has them."""

    def __init__(self, document: FeedDocument) -> None:
        super().__init__()
        self._text = document.text

    def __iter__(self) -> Iterator[FeedRow]:
        for script in islice(_scripts(self._text), _MOST_SCRIPTS):
            for value in json_values(script, "", self.partial):
                yield from self._events(value)

    def _events(self, value: Any) -> Iterator[FeedRow]:
        """Yield the events in a value, in lists, in `@graph`, and in lists of a page. The depth is limited before."""
        if isinstance(value, list):
            for each in value:
                yield from self._events(each)
        elif isinstance(value, dict) and _is_event(value.get("@type")):
            yield from self._event(value)
        elif isinstance(value, dict):
            for name in ("@graph", "itemListElement", "item", "event", "events"):
                yield from self._events(value.get(name))

    def _event(self, event: FeedRow) -> Iterator[FeedRow]:
        row = {
            **event,
            "id": _id(event),
            "latitude": at_path(event, "location.geo.latitude"),
            "longitude": at_path(event, "location.geo.longitude"),
        }
        status = event.get("eventStatus")
        if isinstance(status, str) and status.endswith(_CANCELLED):
            self.removed.append(row)
        else:
            yield row


def _id(event: FeedRow) -> str:
    """Return what identifies an event. A page of a series has one URL for all its dates, so the begin is a part."""
    for found in (event.get("@id"), event.get("identifier"), at_path(event, "identifier.value")):
        if isinstance(found, str | int) and not isinstance(found, bool) and found != "":
            return str(found)
    url, begin = event.get("url"), event.get("startDate")
    if not isinstance(url, str) or not url:
        return ""
    return f"{url}#{begin}" if isinstance(begin, str) else url


def _is_event(found: Any) -> bool:
    """Return whether a type is Event or one of its kinds, such as MusicEvent. They are all named so, but Festival."""
    types = found if isinstance(found, list) else [found]
    names = [each.rpartition("/")[2] for each in types if isinstance(each, str)]
    return any(name == "Festival" or name.endswith("Event") for name in names)


def _scripts(page: str) -> Iterator[str]:
    """Yield the JSON-LD of a page, also that which is cut."""
    for found in _SCRIPT.finditer(page):
        kind = _TYPE_ATTRIBUTE.search(found["attributes"] or "")
        name = "" if kind is None else html.unescape(kind[1] or kind[2] or kind[3] or "")
        if name.partition(";")[0].strip().lower() == _TYPE:
            yield found["content"]
