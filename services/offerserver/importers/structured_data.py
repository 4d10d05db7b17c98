"""Events of schema.org in the JSON-LD of a page (https://schema.org/Event)."""

from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any, Final

from services.offerserver.core.importer import FeedDocument
from services.offerserver.core.values import at_path
from services.offerserver.importers.rows import FeedRow, FeedRows, json_values

_TYPE: Final = "application/ld+json"
_MOST_SCRIPTS: Final = 200
_CANCELLED: Final = "EventCancelled"


class StructuredRows(FeedRows):
    """Yields events as they are, with `id`, and `latitude` and `longitude` if the location has them."""

    def __init__(self, document: FeedDocument) -> None:
        super().__init__()
        self._text = document.text

    def __iter__(self) -> Iterator[FeedRow]:
        parser = _ScriptParser()
        parser.feed(self._text)
        parser.close()
        for script in parser.scripts[:_MOST_SCRIPTS]:
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
        found = next((event[name] for name in ("@id", "identifier", "url") if isinstance(event.get(name), str)), "")
        status = event.get("eventStatus")
        if isinstance(status, str) and status.endswith(_CANCELLED):
            self.removed.append({**event, "id": found})
            return
        yield {
            **event,
            "id": found,
            "latitude": at_path(event, "location.geo.latitude"),
            "longitude": at_path(event, "location.geo.longitude"),
        }


def _is_event(found: Any) -> bool:
    """Return whether a type is Event or one of its kinds, such as MusicEvent. They are all named so, but Festival."""
    types = found if isinstance(found, list) else [found]
    names = [each.rpartition("/")[2] for each in types if isinstance(each, str)]
    return any(name == "Festival" or name.endswith("Event") for name in names)


class _ScriptParser(HTMLParser):
    """Collects the JSON-LD of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.scripts: list[str] = []
        self._pieces: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script" and (dict(attrs).get("type") or "").partition(";")[0].strip().lower() == _TYPE:
            self._pieces = []

    def handle_endtag(self, tag: str) -> None:
        if tag == "script" and self._pieces is not None:
            self.scripts.append("".join(self._pieces))
            self._pieces = None

    def handle_data(self, data: str) -> None:
        if self._pieces is not None:
            self._pieces.append(data)
