from urllib.parse import parse_qs

from services.offerserver.importers.nature_spots import NATURE_SPOTS
from tests.unit.offerserver.reading import AREA, document, feed, parse


def test_trees_and_boulders_are_read() -> None:
    found = parse(NATURE_SPOTS, document(feed("nature.json")))
    assert [(draft.id, draft.text, draft.keywords) for draft in found.drafts] == [
        ("baeume:node/1", "Stieleiche", ("#baeume",)),
        ("findlinge:node/2", "Findling", ("#findlinge",)),
        ("findlinge:way/3", "Markgrafenstein", ("#findlinge",)),
    ]
    assert found.drafts[0].extdata == {"link": "https://www.openstreetmap.org/node/1", "species": "Stieleiche"}
    assert found.drafts[1].image_urls == ("https://images.example/stone.jpg",)
    assert (found.drafts[2].latitude, found.drafts[2].longitude) == (52.4, 13.3)


def test_query_is_posted_for_the_area_of_the_settings() -> None:
    (request,) = NATURE_SPOTS.requests(AREA)
    assert request.body is not None
    assert "around:20000,52.5000,13.4000" in parse_qs(request.body.decode())["data"][0]
