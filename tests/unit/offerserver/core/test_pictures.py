from services.offerserver.core.drafts import Draft
from services.offerserver.core.picture_names import picture_key, picture_path
from services.offerserver.core.pictures import (
    LackingOffer,
    LoadedPictures,
    PictureAttempt,
    PictureFailure,
    PictureLink,
    PictureMemory,
    due_urls,
    lacking_offers,
    next_memory,
    picture_counts,
    picture_links,
    picture_remarks,
)
from tests.unit.offerserver.importing import NOW_MS, draft, known, source

HOUR_MS = 3_600_000
ONE, TWO = "https://things.example/1.jpg", "https://things.example/2.jpg"
FAILED = PictureAttempt("not_fetched", "status 404")


def pictured(number: int, *urls: str) -> Draft:
    return draft(number, image_urls=urls)


def lacking(*urls: str, images: tuple[str, ...] = ()) -> LackingOffer:
    return LackingOffer("a", pictured(1, *urls), images)


def remembered(
    loaded: LoadedPictures, before: PictureMemory | None = None, *, now_ms: int = NOW_MS, is_whole: bool = True
) -> PictureMemory:
    return next_memory([lacking(ONE, TWO)], loaded, before or PictureMemory(), now_ms, is_whole=is_whole)


def test_offer_lacks_the_pictures_that_storage_has_not() -> None:
    items = [pictured(1, ONE, TWO), pictured(2, ONE), draft(3), pictured(4, ONE)]
    offers = [
        known(items[0], 1, images=(picture_path(ONE),)),
        known(items[1], 2, images=(picture_path(ONE),)),
        known(items[2], 3),
    ]
    (found,) = lacking_offers(items, offers, source())
    assert (found.offer_id, found.urls) == (offers[0].offer_id, (TWO,))


def test_offer_that_differs_from_its_draft_is_left_out() -> None:
    assert lacking_offers([pictured(1, ONE)], [known(pictured(1, TWO))], source()) == []


def test_pictures_that_were_never_tried_come_first() -> None:
    failed = PictureFailure(1, NOW_MS - 5, "")
    memory = PictureMemory({picture_key(ONE): failed, picture_key("later"): PictureFailure(1, NOW_MS + 1, "")})
    assert due_urls([lacking(ONE, TWO, "later"), lacking(ONE)], memory, NOW_MS) == [TWO, ONE]


def test_links_have_the_order_of_the_feed() -> None:
    loaded = LoadedPictures({ONE: PictureAttempt("uploaded"), "x": FAILED})
    found = picture_links([lacking("x", ONE, TWO, images=(picture_path(TWO),)), lacking("x")], loaded)
    assert found == [PictureLink("a", (picture_path(ONE), picture_path(TWO)))]


def test_failed_picture_is_tried_after_a_longer_time_each_time() -> None:
    memory, waits = PictureMemory(), []
    for _ in range(5):
        memory = remembered(LoadedPictures({ONE: FAILED, TWO: PictureAttempt("known")}), memory)
        assert memory.due_ms is not None
        waits.append((memory.due_ms - NOW_MS) // HOUR_MS)
    assert waits == [1, 4, 16, 24, 24]
    assert list(memory.failures) == [picture_key(ONE)]


def test_source_is_asked_no_earlier_than_it_wants_but_each_day() -> None:
    for wait_s, hours in ((7_200.0, 2), (1e9, 24)):
        memory = remembered(LoadedPictures({ONE: FAILED._replace(wait_s=wait_s), TWO: FAILED._replace(wait_s=wait_s)}))
        assert memory.due_ms == NOW_MS + hours * HOUR_MS


def test_pictures_that_were_not_tried_are_due_at_once() -> None:
    memory = remembered(LoadedPictures({ONE: FAILED}, "away"))
    assert memory.due_ms == NOW_MS
    assert memory.is_due(NOW_MS)
    assert not memory.is_due(NOW_MS - 1)
    assert not PictureMemory().is_due(NOW_MS)


def test_incomplete_feed_keeps_the_failures_of_others() -> None:
    other = PictureMemory({"other": PictureFailure(1, NOW_MS + 9, "")}, NOW_MS + 9)
    stored = LoadedPictures({ONE: PictureAttempt("known"), TWO: PictureAttempt("uploaded")})
    assert remembered(stored, other, is_whole=False) == other
    assert remembered(stored, other) == PictureMemory()


def test_pictures_are_counted_and_listed() -> None:
    offers = [lacking(ONE, TWO)]
    loaded = LoadedPictures({ONE: FAILED, "x": PictureAttempt("known")}, "no connection")
    memory = next_memory(offers, loaded, PictureMemory(), NOW_MS, is_whole=True)
    counts = picture_counts(loaded, linked=1, tried=[ONE, TWO, "x"])
    assert (counts.linked, counts.waiting, counts.failed) == (1, 1, 1)
    away, failed = picture_remarks(offers, loaded, memory)
    assert away.reason == "the imageserver was not asked further: no connection"
    assert failed == ("id-1", "images", ONE, "status 404")


def test_fifty_failures_are_listed() -> None:
    urls = [f"https://things.example/{number}" for number in range(60)]
    loaded = LoadedPictures(dict.fromkeys(urls, FAILED))
    memory = next_memory([lacking(*urls)], loaded, PictureMemory(), NOW_MS, is_whole=True)
    assert len(list(picture_remarks([lacking(*urls)], loaded, memory))) == 50
