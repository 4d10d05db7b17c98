"""The maps of the pages: an object with its circle, and a pair with both circles."""

import asyncio
from collections.abc import Iterable

from services.backbone.pages.gazetteer import Gazetteer
from services.backbone.pages.map_view import MapAssets, MapCircle, MapContent, MapMarker, MapView, build_map
from services.storage.core.objects import StoredObject


class Maps:
    """Builds maps. The place names load in a thread when the first map needs them."""

    def __init__(self, assets: MapAssets) -> None:
        self._assets = assets
        self._places: asyncio.Task[Gazetteer] | None = None

    async def draw(self, title: str, objects: Iterable[StoredObject]) -> MapView:
        """Return a map with the true location and the circle of each object."""
        if self._places is None or (self._places.done() and self._places.exception()):
            self._places = asyncio.create_task(asyncio.to_thread(Gazetteer))
        places = await asyncio.shield(self._places)
        objects = list(objects)
        content = MapContent(
            "map",
            title,
            markers=[_marker(stored) for stored in objects],
            circles=[_circle(stored) for stored in objects],
            listed_beside=True,
        )
        return build_map(content, places=places, assets=self._assets)


def _marker(stored: StoredObject) -> MapMarker:
    location = stored.fields.location
    href = f"/store/details/{stored.id}"
    return MapMarker(location.lat, location.lng, stored.kind, title_of(stored), href)


def _circle(stored: StoredObject) -> MapCircle:
    location = stored.fields.location
    return MapCircle(location.lat, location.lng, stored.fields.radius_m, "search" if stored.kind == "search" else "own")


def title_of(stored: StoredObject, *, most: int = 80) -> str:
    """Return the first line of the text, or the keywords, or the id."""
    lines = [line.strip() for line in stored.fields.text.splitlines() if line.strip()]
    title = lines[0] if lines else ", ".join(stored.fields.keywords) or stored.id
    return title if len(title) <= most else f"{title[: most - 1]}\N{HORIZONTAL ELLIPSIS}"
