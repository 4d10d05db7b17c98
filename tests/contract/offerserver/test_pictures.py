"""Pictures of offers: from a server of pictures through a run to a real imageserver, and into storage."""

import asyncio
import contextlib
import hashlib
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from deploy.develop.localstack.mongo import MongoServer
from deploy.develop.localstack.redis import LocalRedis
from services.backbone.clients import ImageClient
from services.backbone.outgoing import OutgoingClient
from services.offerserver.core.reports import RunReport
from services.offerserver.core.values import Rejection
from services.offerserver.handlers.jobs import run_importer
from services.offerserver.handlers.pictures import PictureLoader
from services.offerserver.providers.pictures import PictureFetcher
from services.offerserver.settings import Settings
from services.offerserver.store.runs import RunOrder
from tests.contract.imageserver.serving import PATIENT, ImageServer, jpeg
from tests.contract.imageserver.serving import SERVICE as IMAGES
from tests.contract.offerserver import child
from tests.contract.offerserver.bench import ImportBench, Killed, feed, thing
from tests.contract.offerserver.killing import ended, start
from tests.contract.storage.api.serving import SERVICE, SharedStorage
from tests.unit.offerserver.hostile import AGENT, LOOPBACK, MemoryTurns, reply

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def imageserver(mongo_server: MongoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageServer]:
    folder = tmp_path_factory.mktemp("images")
    server = ImageServer(mongo_server.url, f"t-offer-{folder.name}", folder / "volume", folder / "scratch", **PATIENT)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.kill()


@contextlib.asynccontextmanager
async def loading(url: str, *, longest_s: float = 60.0, max_bytes: int = 100_000) -> AsyncIterator[PictureLoader]:
    async with (
        OutgoingClient(timeout_s=5.0, allowed=LOOPBACK) as outgoing,
        ImageClient(url, credentials=IMAGES, attempts=1) as images,
    ):
        fetcher = PictureFetcher(outgoing, MemoryTurns(), user_agent=AGENT, delay_s=0.0, max_bytes=max_bytes)
        yield PictureLoader(fetcher, images, longest_s=longest_s)


@pytest.fixture
async def pictures(bench: ImportBench, imageserver: ImageServer) -> AsyncIterator[ImportBench]:
    async with loading(imageserver.url) as loader:
        bench.runner.pictures = loader
        yield bench


def remarks(report: RunReport) -> list[Rejection]:
    """Return what the run says about pictures. The source also maps a field that no row has."""
    return [each for each in report.remarks if each.field == "images"]


def photo(bench: ImportBench, number: int, content: bytes | None = None, **options: Any) -> str:
    """Serve a picture, and return its URL."""
    path = f"/photo-{number}.jpg"
    bench.server.responses[path] = reply(jpeg(number) if content is None else content, **options)
    return bench.server.url(path)


def path_of(url: str) -> str:
    return f"/assets/images/{hashlib.sha256(url.encode()).hexdigest()}"


def fetched(bench: ImportBench) -> list[str]:
    return sorted(each.path for each in bench.server.requests if each.path.startswith("/photo"))


async def images(bench: ImportBench) -> list[list[str]]:
    return [each["images"] for each in await bench.offers()]


async def test_offers_get_the_paths_of_their_pictures(pictures: ImportBench, imageserver: ImageServer) -> None:
    one, two = photo(pictures, 1), photo(pictures, 2)
    report = await pictures.run(feed([thing(0, photos=[one, two]), thing(1, photos=two), thing(2)]))
    assert await images(pictures) == [[path_of(one), path_of(two)], [path_of(two)], []]
    assert (report.grade, report.counts.new, report.pictures.linked) == ("trusted", 3, 2)
    assert report.pictures.results == {"uploaded": 2}
    assert fetched(pictures) == ["/photo-1.jpg", "/photo-2.jpg"]
    assert imageserver.picture(f"{path_of(one)}/thumb").size == (250, 250)
    await pictures.until_quiet(1)
    assert (await pictures.store.totals("things"))["pictures:uploaded"] == 2


async def test_same_feed_twice_fetches_and_writes_nothing(pictures: ImportBench) -> None:
    text = feed([thing(0, photos=photo(pictures, 3))])
    await pictures.run(text)
    before, seen = await pictures.offers(), len(fetched(pictures))
    pictures.client.writes = 0
    report = await pictures.run(text)
    assert (report.counts.unchanged, report.pictures.results) == (1, {})
    assert (pictures.client.writes, len(fetched(pictures)), await pictures.offers()) == (0, seen, before)


async def test_changed_offer_keeps_its_picture_without_the_imageserver(pictures: ImportBench) -> None:
    kept, gone = photo(pictures, 4), photo(pictures, 5)
    await pictures.run(feed([thing(0, photos=[kept, gone])]))
    pictures.runner.pictures = None
    await pictures.run(feed([thing(0, photos=[kept], temperature=7)]))
    assert await images(pictures) == [[path_of(kept)]]


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (reply("", 404), "status 404"),
        (reply("", 404, Retry_After="Mon, 01 Jan 2024 00:00:00 +" + "9" * 20), "status 404"),
        (reply(b"x" * 100_001), "the body has more than 100000 bytes"),
        (reply("<!doctype html>", Content_Type="image/jpeg"), "the imageserver does not accept it: status 415"),
        (reply(jpeg(1), length=1_000_000), "the response ended early"),
        (reply("", 302, Location="http://10.0.0.1/x"), "10.0.0.1"),
        (reply("", 302, Location="/photo-6.jpg"), "more than 5 redirects"),
    ],
)
async def test_failing_picture_never_fails_its_offer(
    pictures: ImportBench, imageserver: ImageServer, response: bytes, reason: str
) -> None:
    pictures.server.responses["/photo-6.jpg"] = response
    bad, good = pictures.server.url("/photo-6.jpg"), photo(pictures, 7)
    report = await pictures.run(feed([thing(0, photos=[bad, good]), thing(1)]))
    assert (report.grade, report.counts.new, report.counts.rejected, report.pictures.failed) == ("trusted", 2, 0, 1)
    assert await images(pictures) == [[path_of(good)], []]
    (remark,) = remarks(report)
    assert (remark.id, remark.field) == ("thing-0", "images")
    assert reason in remark.reason
    # An hour later it is there. Until then nobody asks for it, and nothing is written.
    pictures.server.responses["/photo-6.jpg"] = reply(jpeg(6))
    seen = len(fetched(pictures))
    pictures.client.writes = 0
    report = await pictures.run()
    assert (len(fetched(pictures)), pictures.client.writes, report.pictures.results) == (seen, 0, {})
    assert reason in remarks(report)[0].reason
    pictures.now_ms += HOUR_MS + 1
    report = await pictures.run()
    assert (report.pictures.linked, remarks(report), pictures.client.writes) == (1, [], 1)
    assert await images(pictures) == [[path_of(bad), path_of(good)], []]
    await pictures.until_quiet(1)
    imageserver.client.delete(path_of(bad))


async def test_picture_is_tried_again_although_the_feed_has_not_changed(pictures: ImportBench) -> None:
    url = photo(pictures, 8, b"", status=500)
    pictures.serve(feed([thing(0, photos=[url])]), ETag='"1"')
    await pictures.run()
    await pictures.run()
    assert pictures.server.requests[-1].headers["if-none-match"] == '"1"'
    pictures.now_ms += HOUR_MS + 1
    photo(pictures, 8)
    await pictures.run()
    assert await images(pictures) == [[path_of(url)]]
    await pictures.run()
    assert pictures.server.requests[-1].headers["if-none-match"] == '"1"'


async def test_imageserver_that_is_away_delays_only_pictures(bench: ImportBench, imageserver: ImageServer) -> None:
    urls = [photo(bench, 9), photo(bench, 10)]
    text = feed([thing(0, photos=urls), thing(1)])
    async with loading("http://127.0.0.1:9") as loader:
        bench.runner.pictures = loader
        report = await bench.run(text)
    assert (report.grade, report.counts.new, report.pictures.waiting) == ("trusted", 2, 2)
    assert remarks(report)[0].reason.startswith("the imageserver was not asked further")
    assert fetched(bench) == []
    async with loading(imageserver.url) as loader:
        bench.runner.pictures = loader
        report = await bench.run()
    assert (report.pictures.results, report.counts.unchanged) == ({"uploaded": 2}, 2)
    assert await images(bench) == [[path_of(url) for url in urls], []]


async def test_offers_come_without_pictures_until_an_imageserver_is_configured(
    bench: ImportBench, imageserver: ImageServer
) -> None:
    url = photo(bench, 11)
    bench.serve(feed([thing(0, photos=[url])]), ETag='"1"')
    report = await bench.run()
    assert (remarks(report), await images(bench), fetched(bench)) == ([], [[]], [])
    await bench.run()
    assert bench.server.requests[-1].headers["if-none-match"] == '"1"'
    async with loading(imageserver.url) as loader:
        bench.runner.pictures = loader
        await bench.run()
    assert await images(bench) == [[path_of(url)]]


async def test_run_that_is_killed_between_upload_and_write_is_repeated_without_duplicates(
    pictures: ImportBench, imageserver: ImageServer
) -> None:
    url = photo(pictures, 12)
    pictures.client.killed_at = 1
    with pytest.raises(Killed):
        await pictures.run(feed([thing(0, photos=[url])]))
    assert await images(pictures) == [[]]
    stored = imageserver.files()
    pictures.client.killed_at = None
    report = await pictures.run()
    assert report.pictures.results == {"known": 1}
    assert await images(pictures) == [[path_of(url)]]
    assert (fetched(pictures), imageserver.files()) == (["/photo-12.jpg"], stored)
    await pictures.until_quiet(1)


async def test_pictures_end_in_time_and_the_rest_is_loaded_later(bench: ImportBench, imageserver: ImageServer) -> None:
    urls = [photo(bench, number) for number in (13, 14)]
    text = feed([thing(0, photos=urls)])
    async with loading(imageserver.url, longest_s=0.0) as loader:
        bench.runner.pictures = loader
        report = await bench.run(text)
    assert (report.grade, report.pictures.waiting, report.pictures.linked) == ("trusted", 2, 0)
    async with loading(imageserver.url) as loader:
        bench.runner.pictures = loader
        assert (await bench.run(text)).pictures.linked == 1


async def test_picture_that_was_unlinked_by_hand_comes_back_without_a_fetch(pictures: ImportBench) -> None:
    url = photo(pictures, 15)
    pictures.serve(feed([thing(0, photos=[url])]), ETag='"1"')
    await pictures.run()
    (offer,) = await pictures.offers()
    await pictures.http.put(f"/offers/{offer['_id']}", json={"images": []})
    assert (await pictures.run()).pictures.results == {"known": 1}
    assert await images(pictures) == [[path_of(url)]]
    assert fetched(pictures) == ["/photo-15.jpg"]


async def test_dry_run_loads_no_picture(pictures: ImportBench) -> None:
    report = await pictures.run(feed([thing(0, photos=photo(pictures, 16))]), RunOrder("dry run", "operator"))
    assert (report.counts.new, fetched(pictures)) == (1, [])


async def test_accepted_run_has_its_pictures_after_the_next_run(pictures: ImportBench) -> None:
    await pictures.run(feed(thing(number) for number in range(10)))
    url = photo(pictures, 17)
    renamed = feed(thing(number, id=f"other-{number}", photos=url) for number in range(10))
    suspect = await pictures.run(renamed)
    assert suspect.pictures.results == {}
    await pictures.run(order=RunOrder("accept", "operator", suspect.digest))
    assert await images(pictures) == [[]] * 10
    report = await pictures.run()
    assert (report.pictures.linked, report.pictures.results) == (10, {"uploaded": 1})


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, -1, 2, -2])
async def test_killed_process_leaves_pictures_that_the_next_run_links(
    pictures: ImportBench, imageserver: ImageServer, shared_storage: SharedStorage, at: int
) -> None:
    """It dies before or after a write. The first one has the offers, the second one the paths of their pictures."""
    urls = [photo(pictures, 18), photo(pictures, 19)]
    linked = [[path_of(url) for url in urls], [path_of(urls[0])]]
    pictures.serve(feed([thing(0, photos=urls), thing(1, photos=urls[0])]))
    process = start(pictures, shared_storage, at, signal.SIGKILL, imageserver.url)
    assert await ended(process) == -signal.SIGKILL
    assert await images(pictures) == {1: [], -1: [[], []], 2: [[], []], -2: linked}[at]
    stored = imageserver.files()
    await asyncio.sleep(child.LEASE_S + 0.2)
    report = await pictures.run()
    new = 2 if at == 1 else 0
    assert (report.grade, report.counts.new, report.counts.unchanged) == ("trusted", new, 2 - new)
    assert await images(pictures) == linked
    assert fetched(pictures) == ["/photo-18.jpg", "/photo-19.jpg"]
    if abs(at) > 1:
        assert imageserver.files() == stored
    await pictures.until_quiet(1)


async def test_job_takes_pictures_to_the_imageserver_of_the_settings(
    bench: ImportBench, imageserver: ImageServer, clean_redis: LocalRedis, shared_storage: SharedStorage
) -> None:
    url = photo(bench, 20)
    bench.serve(feed([thing(0, photos=url)]))
    settings = Settings.from_env(
        {
            "OFFERS_REDIS_URL": clean_redis.url,
            "OFFERS_STORAGE_URL": f"http://127.0.0.1:{shared_storage.environ['STORAGE_PORT']}",
            "STORAGE_PASSWORD": SERVICE[1],
            "OFFERS_IMAGESERVER_URL": imageserver.url,
            "IMAGESERVER_PASSWORD": IMAGES[1],
            "OFFERS_CONTACT": "https://push.example/",
            "OFFERS_HOST_DELAY_S": "0.01",
            "OUTGOING_ALLOWED_NETWORKS": "127.0.0.0/8",
        }
    )
    assert await run_importer(settings, bench.importer) == "run: trusted: 1 new, 1 with new pictures"
    assert await images(bench) == [[path_of(url)]]
    assert bench.server.requests[-1].headers["user-agent"] == "push-offers (+https://push.example/)"
