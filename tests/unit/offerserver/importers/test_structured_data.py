import json
import time

import pytest

from services.offerserver.core.drafts import Parsed
from services.offerserver.importers.configured import read_source
from services.offerserver.importers.structured_data import StructuredRows
from tests.unit.offerserver.reading import configured, document, feed, parse, rejected


def read(text: str) -> Parsed:
    return parse(configured("theatre.yaml"), document(text, kind="page"))


def script(content: str) -> str:
    return f'<html><script type="application/ld+json">{content}</script></html>'


def test_events_of_a_page_are_read() -> None:
    found = read(feed("programme.html"))
    assert [(draft.id, draft.text, draft.latitude, draft.longitude) for draft in found.drafts] == [
        ("https://theatre.example/#1", "A play", 52.52, 13.4),
        ("https://theatre.example/#2", "A talk", 52.51, 13.39),
        ("https://theatre.example/f", "Summer", 52.5, 13.41),
    ]
    play = found.drafts[0]
    assert play.image_urls == ("https://theatre.example/1.jpg",)
    assert play.valid_until_ms == 1_796_158_800_000  # 22:00 in Berlin
    assert play.extdata == {"link": "https://theatre.example/1", "when": "2026-12-01T19:30"}


def test_cancelled_event_is_removed() -> None:
    assert read(feed("programme.html")).removed == {"https://theatre.example/#3"}


def test_unknown_place_is_listed() -> None:
    found = read(feed("programme.html"))
    assert rejected(found) == [("https://theatre.example/#4", "location.name", "is not in the table of places")]
    assert found.rejections[0].value == "Unknown barn"


def test_malformed_script_makes_the_run_partial() -> None:
    assert len(read(feed("programme.html")).partial) == 1


@pytest.mark.parametrize("content", ["", "[]", '"text"', '{"@type": "Person"}', '{"@type": 5}', "null"])
def test_page_without_events_has_no_rows(content: str) -> None:
    found = read(script(content))
    assert (found.drafts, found.rejections) == ((), ())


def event(**changes: object) -> str:
    usual = {"@type": "Event", "name": "A play", "location": {"name": "Small Stage"}, "startDate": "2026-12-01T19:30"}
    return json.dumps(usual | changes)


@pytest.mark.parametrize(
    ("fields", "row_id"),
    [
        ({"url": "https://x.example/a"}, "https://x.example/a#2026-12-01T19:30"),
        ({"url": "https://x.example/a", "startDate": 5}, "https://x.example/a"),
        ({"identifier": {"@type": "PropertyValue", "value": "e-1"}}, "e-1"),
        ({"identifier": {"@type": "PropertyValue", "value": 17}, "url": "https://x.example/a"}, "17"),
        ({"identifier": 17}, "17"),
        ({"identifier": ["a"], "url": "https://x.example/a"}, "https://x.example/a#2026-12-01T19:30"),
        ({"@id": "#1", "identifier": "2"}, "#1"),
        ({}, ""),
    ],
)
def test_event_has_an_id_whatever_identifies_it(fields: dict[str, object], row_id: str) -> None:
    rows = StructuredRows(document(script(event(**fields)), kind="page"))
    assert [row["id"] for row in rows] == [row_id]


def test_dates_of_one_page_are_different_events() -> None:
    found = read(script(f"[{event(url='/a')}, {event(url='/a', startDate='2026-12-02')}]"))
    assert [draft.id for draft in found.drafts] == ["/a#2026-12-01T19:30", "/a#2026-12-02"]


def test_removed_event_has_the_id_that_its_mapping_makes() -> None:
    importer = read_source(feed("theatre.yaml").replace("fields:", "fields:\n  id: [name, startDate]"))
    before, after = (
        parse(importer, document(script(event(**status)), kind="page"))
        for status in ({}, {"eventStatus": "https://schema.org/EventCancelled"})
    )
    assert (len(before.drafts), after.drafts) == (1, ())
    assert after.removed == {draft.id for draft in before.drafts}


@pytest.mark.parametrize(
    "opening",
    [
        "<script type=application/ld+json>",
        "<SCRIPT id=x type = 'Application/LD+JSON; charset=utf-8' async>",
        '<script data-type="x" class="a"type="application/ld&#43;json" >',
    ],
)
def test_script_is_found_however_it_is_written(opening: str) -> None:
    page = f"<!-- {script(event(url='/no'))} --><script>'<script type=\"application/ld+json\">'</script>"
    found = read(f"{page}{opening}{event(url='/a')}</SCRIPT >{event(url='/b')}")
    assert [draft.id for draft in found.drafts] == ["/a#2026-12-01T19:30"]


def test_script_that_is_cut_makes_the_run_partial() -> None:
    found = read(script(f"[{event(url='/a')}, {event(url='/b')}]").partition('"/b"')[0])
    assert found.drafts == ()
    assert len(found.partial) == 1


@pytest.mark.parametrize(
    "part",
    [
        "<a ",
        "<script ",
        "<script>",
        "<script type='",
        "<!--",
        "</script",
        "<script type=application/ld+json>",
        " type=",
        "type ",
    ],
)
def test_hostile_page_is_searched_in_linear_time(part: str) -> None:
    began = time.monotonic()
    for text in (part * 100_000, f"<script {part * 100_000}>"):
        list(StructuredRows(document(text, kind="page")))
    assert time.monotonic() - began < 2
