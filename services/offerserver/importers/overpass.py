"""Overpass JSON (OpenStreetMap): the elements of `[out:json]` with `out center`.

A time-out or too little memory is a `remark` in a response with the status 200, which then is incomplete
(https://wiki.openstreetmap.org/wiki/Overpass_API).
"""

from collections.abc import Iterator

from services.offerserver.core.importer import FeedDocument
from services.offerserver.core.values import shown
from services.offerserver.importers.rows import FeedRow, JsonRows, json_values


class OverpassRows(JsonRows):
    """Yields elements with `id` (`node/1`), `latitude`, `longitude`, `link`, and their tags in `tags`."""

    def __init__(self, document: FeedDocument) -> None:
        super().__init__(document, "elements.item")
        self._document = document

    def __iter__(self) -> Iterator[FeedRow]:
        for element in super().__iter__():
            center = element.get("center")
            point = center if isinstance(center, dict) else element
            name = f"{element.get('type')}/{element.get('id')}"
            yield {
                "id": name,
                "latitude": point.get("lat"),
                "longitude": point.get("lon"),
                "link": f"https://www.openstreetmap.org/{name}",
                "tags": element.get("tags") or {},
            }
        for remark in json_values(self._document.text, "remark", []):
            self.partial.append(f"Overpass remarks: {shown(remark)}")
