"""GeonamesClient: looks places up by the web services of GeoNames.

Errors are JSON objects with a `status`, whose HTTP status is 200 or 401
(https://www.geonames.org/export/webservice-exception.html).
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import msgspec

from services.backbone.clients import RequestRefused, ServiceFailed
from services.consumers.core.actions import MOST_LATITUDE, MOST_LONGITUDE
from services.consumers.core.place_offers import NamedPlace, place_id
from services.consumers.core.places import EarthPoint, SearchPlaces
from services.consumers.providers.requests import Provider

_ROWS: Final = 200
_HOTEL: Final = "HTL"
_CREDITS_OF_SEARCH: Final = 1
_CREDITS_OF_ARTICLES: Final = 2
_CREDITS_OF_ONE: Final = 1
"""Credits of a request: https://www.geonames.org/export/credits.html."""
_WAITS_S: Final[Mapping[int, float]] = {10: 60.0, 18: 3600.0, 19: 600.0, 20: 3600.0, 22: 60.0}
"""The codes for an unknown user, exceeded credits of a day, an hour and a week, and an overloaded server, and the
seconds until the next request. GeoNames names no time."""
_NOTHING_FOUND: Final = frozenset({11, 15})
_FAILED: Final = frozenset({12, 13})
"""Other errors, and a time-out of the database."""
_MOST_NAME_CHARS: Final = 200
_MOST_LINK_CHARS: Final = 2_000


class _Status(msgspec.Struct):
    value: int = 12
    message: str = ""


class _Rows(msgspec.Struct):
    geonames: list[msgspec.Raw] = []
    status: _Status | None = None


class _Row(msgspec.Struct):
    """A row of a search, or of articles: these have a title and no name."""

    lat: float
    lng: float
    name: str = ""
    title: str = ""
    geonameId: int | None = None  # noqa: N815 - the names of GeoNames
    geoNameId: int | None = None  # noqa: N815
    wikipediaUrl: str = ""  # noqa: N815


class _AlternateName(msgspec.Struct):
    name: str = ""
    lang: str = ""


class _Details(msgspec.Struct):
    wikipediaURL: str = ""  # noqa: N815
    alternateNames: list[_AlternateName] = []  # noqa: N815
    status: _Status | None = None


_Body = TypeVar("_Body", _Rows, _Details)


class GeonamesClient:
    """Looks places up. All methods raise ServiceUnavailable, ServiceFailed or RequestRefused."""

    def __init__(self, provider: Provider, *, url: str, user: str) -> None:
        self._provider = provider
        self._url = url
        self._user = user

    async def places(self, search: SearchPlaces) -> list[NamedPlace]:
        """Return at most 200 places: those in the box, or the articles of Wikipedia in the circle at its middle."""
        if search.kind == "poi":
            (south, west), (north, east) = search.south_west, search.north_east
            query: dict[str, Any] = {
                "q": " ".join(search.words),
                "maxRows": _ROWS,
                "south": south,
                "west": west,
                "north": north,
                "east": east,
                **({"featureCode": _HOTEL} if search.only_hotels else {}),
            }
            found = await self._get("searchJSON", query, _Rows, cost=_CREDITS_OF_SEARCH)
        else:
            latitude, longitude = search.middle
            query = {"lat": latitude, "lng": longitude, "radius": search.radius_km, "maxRows": _ROWS}
            found = await self._get("findNearbyWikipediaJSON", query, _Rows, cost=_CREDITS_OF_ARTICLES)
        return [] if found is None else list(_places(found.geonames))

    async def link(self, geoid: str) -> str:
        """Return a page about a place, empty if GeoNames knows none."""
        found = await self._get("getJSON", {"geonameId": geoid}, _Details, cost=_CREDITS_OF_ONE)
        if found is None:
            return ""
        links = (each.name for each in found.alternateNames if each.lang == "link")
        return _link(next(links, "") or found.wikipediaURL)

    async def _get(self, path: str, query: Mapping[str, Any], kind: type[_Body], *, cost: int) -> _Body | None:
        """Return a response, None if GeoNames has found nothing."""
        url = f"{self._url}/{path}?{urlencode({**query, 'username': self._user})}"
        response = await self._provider.request("GET", url, cost=cost)
        try:
            found = msgspec.json.decode(response.body, type=kind, strict=False)
        except msgspec.MsgspecError as error:
            await self._provider.check_status(response)
            raise ServiceFailed(f"GeoNames: the response is not as expected: {error}") from None
        if found.status is None:
            await self._provider.check_status(response)
            return found
        await self._raise_for(found.status)
        return None

    async def _raise_for(self, status: _Status) -> None:
        """Raise the error that GeoNames reports. Return if it has found nothing."""
        if status.value in _NOTHING_FOUND:
            return
        reason = f"{status.value} {status.message[:200]}"
        if (wait_s := _WAITS_S.get(status.value)) is not None:
            await self._provider.close(wait_s)
            raise self._provider.unavailable(reason, wait_s=wait_s)
        raise (ServiceFailed if status.value in _FAILED else RequestRefused)(f"GeoNames: {reason}")


def _places(rows: list[msgspec.Raw]) -> Iterator[NamedPlace]:
    """Yield the places of rows that have a name and a location. The others are of no use."""
    for row in rows:
        try:
            found = msgspec.json.decode(row, type=_Row, strict=False)
        except msgspec.MsgspecError:
            continue
        name = (found.name or found.title).strip()[:_MOST_NAME_CHARS]
        geoname_id = found.geonameId or found.geoNameId
        is_on_earth = abs(found.lat) <= MOST_LATITUDE and abs(found.lng) <= MOST_LONGITUDE
        if name and is_on_earth and (geoname_id or found.wikipediaUrl):
            link = _link(found.wikipediaUrl)
            yield NamedPlace(place_id(geoname_id, found.wikipediaUrl), name, EarthPoint(found.lat, found.lng), link)


def _link(url: str) -> str:
    """Return a URL with its scheme, which GeoNames leaves out. Empty without a URL that a chat can show."""
    if not url or len(url) > _MOST_LINK_CHARS:
        return ""
    return url if url.startswith(("http://", "https://")) else f"https://{url}"
