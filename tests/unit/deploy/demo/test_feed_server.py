import time

import httpx
import pytest

from deploy.demo.feed_server import FEEDS, SOURCES, feed_of, feed_server
from services.offerserver.core.importer import FeedDocument, ImportArea
from services.offerserver.importers.directory import importers_of

BERLIN = ImportArea(52.52, 13.405, 25)
IMPORTERS = importers_of(SOURCES)


@pytest.mark.parametrize("name", list(IMPORTERS))
def test_each_importer_reads_its_feed_completely(name: str) -> None:
    importer = IMPORTERS[name]
    documents = []
    for request in importer.requests(BERLIN):
        found = feed_of("/" + request.url.partition("://")[2].partition("?")[0])
        assert found is not None, request.url
        documents.append(FeedDocument(url=request.url, text=found[0].decode(), headers={}, is_cut=False))
    parsed = importer.parse(documents, time.time_ns() // 1_000_000)
    assert len(parsed.drafts) >= 2
    assert (parsed.rejections, parsed.partial) == ((), ())


def test_each_feed_is_that_of_an_importer() -> None:
    hosts = {request.url.split("/")[2] for importer in IMPORTERS.values() for request in importer.requests(BERLIN)}
    assert {file.stem for file in FEEDS.iterdir()} == hosts


def test_feeds_are_served_on_loopback_for_get_and_post() -> None:
    with feed_server() as url:
        feed = f"{url}/overpass-api.de/api/interpreter"
        posted = httpx.post(feed, data={"data": "query"})
        assert posted.headers["Content-Type"] == "application/json; charset=utf-8"
        assert posted.content == (FEEDS / "overpass-api.de.json").read_bytes()
        for path in ("/unknown.example/", "/", "/%2e%2e/sample.toml"):
            assert httpx.get(url + path).status_code == 404
