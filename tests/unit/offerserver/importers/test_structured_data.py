import pytest

from services.offerserver.core.drafts import Parsed
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
