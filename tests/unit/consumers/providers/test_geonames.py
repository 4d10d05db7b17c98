import hashlib

import pytest

from services.backbone.clients import RequestRefused, ServiceFailed, ServiceUnavailable
from services.consumers.core.place_offers import NamedPlace
from services.consumers.core.places import EarthPoint, SearchPlaces
from services.consumers.providers.geonames import GeonamesClient
from tests.unit.consumers.providers.replaying import replaying

BOX = EarthPoint(52.5, 13.3), EarthPoint(52.6, 13.5)
POI = SearchPlaces("poi", *BOX, ("old", "museum"), ("#poi",))
HOTELS = SearchPlaces("poi", *BOX, (), ("#poi", "#hotel"))
ARTICLES = SearchPlaces("wikipedia", *BOX, (), ("#wikipedia",))
LINK = "https://en.wikipedia.org/wiki/Brandenburg_Gate"


async def test_box_is_searched_for_words() -> None:
    async with replaying("search_poi") as (replay, provider, url):
        found = await GeonamesClient(provider, url=url, user="push").places(POI)
    assert found == [
        NamedPlace("6325497", "Brandenburg Gate", EarthPoint(52.51628, 13.3777)),
        NamedPlace("6947000", "Example Hotel", EarthPoint(52.51, 13.36)),
    ]
    (request,) = replay.requests
    assert request.path == "/v3/searchJSON"
    assert request.query == {
        "q": "old museum",
        "south": "52.5",
        "west": "13.3",
        "north": "52.6",
        "east": "13.5",
        "maxRows": "200",
        "username": "push",
    }
    assert replay.limit.room == 999


async def test_search_for_hotels_is_narrowed() -> None:
    async with replaying("search_poi") as (replay, provider, url):
        await GeonamesClient(provider, url=url, user="push").places(HOTELS)
    assert replay.requests[0].query["featureCode"] == "HTL"


async def test_articles_are_searched_in_a_circle() -> None:
    async with replaying("articles") as (replay, provider, url):
        found = await GeonamesClient(provider, url=url, user="push").places(ARTICLES)
    digest = hashlib.sha256(b"en.wikipedia.org/wiki/Pariser_Platz").hexdigest()
    assert [(place.geoid, place.name, place.link) for place in found] == [
        ("6325497", "Brandenburg Gate", LINK),
        (digest, "Pariser Platz", "https://en.wikipedia.org/wiki/Pariser_Platz"),
    ]
    (request,) = replay.requests
    assert request.path == "/v3/findNearbyWikipediaJSON"
    assert float(request.query["lat"]) == pytest.approx(52.55)
    assert float(request.query["lng"]) == pytest.approx(13.4)
    assert (request.query["radius"], request.query["maxRows"]) == ("9", "200")
    assert replay.limit.room == 998


async def test_link_of_a_place_is_its_page() -> None:
    async with replaying("place") as (replay, provider, url):
        assert await GeonamesClient(provider, url=url, user="push").link("6325497") == LINK
    assert replay.requests[0].query == {"geonameId": "6325497", "username": "push"}


async def test_exceeded_credits_close_the_limit() -> None:
    async with replaying("credits_exceeded", status=401) as (replay, provider, url):
        with pytest.raises(ServiceUnavailable, match="19 the hourly limit") as raised:
            await GeonamesClient(provider, url=url, user="push").places(POI)
    assert raised.value.wait_s == replay.limit.closed_s == 600


@pytest.mark.parametrize("value", [10, 22])
async def test_unknown_user_and_overload_close_the_limit_for_a_minute(value: int) -> None:
    async with replaying() as (replay, provider, url):
        replay.content = b'{"status": {"message": "why", "value": %d}}' % value
        with pytest.raises(ServiceUnavailable, match="why") as raised:
            await GeonamesClient(provider, url=url, user="push").places(POI)
    assert raised.value.wait_s == replay.limit.closed_s == 60


@pytest.mark.parametrize("status", [200, 401, 500])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (10, ServiceUnavailable),
        (12, ServiceFailed),
        (13, ServiceFailed),
        (14, RequestRefused),
        (18, ServiceUnavailable),
        (20, ServiceUnavailable),
        (22, ServiceUnavailable),
        (24, RequestRefused),
    ],
)
async def test_error_depends_on_the_code_of_geonames(status: int, value: int, error: type[Exception]) -> None:
    async with replaying(status=status) as (replay, provider, url):
        replay.content = b'{"status": {"message": "why", "value": %d}}' % value
        with pytest.raises(error, match="why") as raised:
            await GeonamesClient(provider, url=url, user="push").places(POI)
    assert type(raised.value) is error


@pytest.mark.parametrize("value", [11, 15])
async def test_nothing_found_is_no_error(value: int) -> None:
    async with replaying() as (replay, provider, url):
        replay.content = b'{"status": {"message": "no result", "value": %d}}' % value
        client = GeonamesClient(provider, url=url, user="push")
        assert await client.places(POI) == []
        assert await client.link("1") == ""


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (200, ServiceFailed),
        (301, ServiceUnavailable),
        (404, ServiceUnavailable),
        (414, RequestRefused),
        (429, ServiceUnavailable),
        (503, ServiceUnavailable),
    ],
)
async def test_error_without_json_depends_on_its_status(status: int, error: type[Exception]) -> None:
    async with replaying(status=status) as (replay, provider, url):
        replay.content = b"<html>"
        with pytest.raises(error) as raised:
            await GeonamesClient(provider, url=url, user="push").places(POI)
    assert type(raised.value) is error
