from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.consumers.core.chat_commands import (
    ENDED,
    MACHINES,
    NOT_KNOWN,
    NOT_UNDERSTOOD,
    place_without_link,
    reply,
)

MEETUP = {
    "id": "https://meetup.example/events/1",
    "berlin_time": "26.11.2026 19:00",
    "group_name": "Berlin Walkers",
    "group_url": "https://meetup.example/walkers",
}
GALLERY = {
    "id": "g1",
    "vid": 7,
    "tel": "030 123",
    "ilink": "https://index.example/1",
    "match_hash": "aa-bb",
    "content_hash": "cc-dd",
    "elink": "https://gallery.example",
    "otime": "Tue-Sat 12-18",
    "empty": "",
}
FILM = {
    "id": "https://kino.example/film/1|Odeon|1795723200000",
    "berlin_time": "20:15",
    "where": "Odeon, Hauptstr. 116",
}
SENSOR = {"id": "fe:17", "sid": 17}


@pytest.mark.parametrize(
    ("owner", "extdata", "message", "expected"),
    [
        ("DbpediaOrg", {"id": 1, "link": "https://dbpedia.example/a"}, "Send me the LINK, please", "https://dbpedia.example/a"),
        ("NewstralCom", {"link": "https://news.example/1"}, "link", "https://news.example/1"),
        ("BerlinDeNatur", {"link": "https://natur.example/1"}, "a link?", "https://natur.example/1"),
        ("GoogleAlbum", {"link": "https://album.example/1"}, "link", "https://album.example/1"),
        ("GeonamesOrg", {"geoid": "1", "link": "https://en.wikipedia.org/wiki/A"}, "link", "https://en.wikipedia.org/wiki/A"),
        ("MeetupCom", MEETUP, "link", MEETUP["id"]),
        ("MeetupCom", MEETUP, "Group name?", MEETUP["group_name"]),
        ("MeetupCom", MEETUP, "group link", MEETUP["group_url"]),
        ("MeetupCom", MEETUP, "which group", MEETUP["group_url"]),
        ("MeetupCom", MEETUP, "When?", MEETUP["berlin_time"]),
        ("IndexBerlin", GALLERY, "link", GALLERY["elink"]),
        ("IndexBerlin", {**GALLERY, "elink": None}, "link", GALLERY["ilink"]),
        ("IndexBerlin", GALLERY, "opening hours", GALLERY["otime"]),
        ("IndexBerlin", GALLERY, "telephone", GALLERY["tel"]),
        (
            "IndexBerlin",
            GALLERY,
            "all",
            "tel: 030 123\nilink: https://index.example/1\nelink: https://gallery.example\notime: Tue-Sat 12-18",
        ),
        ("UrbaniteNet", {"id": "https://urbanite.example/1"}, "url", "https://urbanite.example/1"),
        ("UrbaniteNet", {"id": "u", "link": "https://museum.example"}, "link", "https://museum.example"),
        ("UrbaniteNet", {"id": "u", "long_title": "The Museum of Letters"}, "LONG_TITLE", "The Museum of Letters"),
        ("LuftDatenInfo", SENSOR, "link", "https://data.sensor.community/airrohr/v1/sensor/17/"),
        ("LuftDatenInfo", {**SENSOR, "P1": 12.5, "P2": 4}, "how is the air", "PM10 12.5, PM2.5 4"),
        (
            "LuftDatenInfo",
            SENSOR,
            "",
            "I don't know the current values. They are here: https://data.sensor.community/airrohr/v1/sensor/17/",
        ),
        ("BerlinDeKinos", FILM, "when", "20:15, Odeon, Hauptstr. 116"),
        ("BerlinDeKinos", FILM, "desc", "https://kino.example/film/1"),
        ("BerlinDeKinos", FILM, "Link", "https://kino.example/film/1"),
        ("BerlinDeKinos", FILM, "wherelse", "I only know this cinema. All cinemas: https://kino.example/film/1"),
        ("BerlinDeKinos", None, "when", "Sorry, film has ended..."),
        ("BerlinDeDaten", {"id": "markt:4", "open": "Sat 8-14"}, "open", "Sat 8-14"),
        ("BerlinDeDaten", {"id": "denkmal:4", "link": "https://denkmal.example/4"}, "link", "https://denkmal.example/4"),
        ("AbandonedBerlin", {"id": "https://abandoned.example/1"}, "what is this", "https://abandoned.example/1"),
        ("ExBerlinerLocations", {"id": "https://bar.example", "desc": "A bar."}, "desc", "A bar."),
        (
            "ExBerlinerLocations",
            {"id": "https://bar.example"},
            "phone",
            "I don't know the phone number. It may be here: https://bar.example",
        ),
        ("ExBerlinerLocations", {"id": "https://bar.example"}, "link", "https://bar.example"),
    ],
)  # fmt: skip
def test_command_has_its_reply(owner: str, extdata: dict[str, Any] | None, message: str, expected: str) -> None:
    assert reply(owner, message, extdata) == expected


@pytest.mark.parametrize("owner", sorted(set(MACHINES) - {"AbandonedBerlin", "LuftDatenInfo"}))
def test_other_message_is_not_understood(owner: str) -> None:
    assert reply(owner, "Are you there, HAL?", {"id": "1"}) == NOT_UNDERSTOOD


def test_sorry_dave_has_the_words_of_the_old_system() -> None:
    assert NOT_UNDERSTOOD == "Sorry Dave, I didn't understand that."


@pytest.mark.parametrize("extdata", [{}, {"link": None}, {"link": ""}, {"link": True}, {"link": []}])
def test_missing_value_is_not_known(extdata: dict[str, Any]) -> None:
    assert reply("DbpediaOrg", "link", extdata) == NOT_KNOWN


def test_offer_that_does_not_exist_has_ended() -> None:
    assert reply("MeetupCom", "link", None) == ENDED


def test_value_is_not_read_as_a_template() -> None:
    assert reply("BerlinDeKinos", "when", {"berlin_time": "{where}", "where": "Odeon"}) == "{where}, Odeon"


def test_long_reply_is_shortened() -> None:
    found = reply("DbpediaOrg", "link", {"link": "x" * 3000})
    assert (len(found), found[-1]) == (2000, "…")


@pytest.mark.parametrize(
    ("owner", "message", "extdata", "expected"),
    [
        ("GeonamesOrg", "the link", {"geoid": "2950159"}, "2950159"),
        ("GeonamesOrg", "the link", {"geoid": 2950159}, "2950159"),
        ("GeonamesOrg", "the link", {"geoid": "2950159", "link": "https://a.example"}, None),
        ("GeonamesOrg", "hello", {"geoid": "2950159"}, None),
        ("GeonamesOrg", "the link", {"geoid": "2950159&username=x"}, None),
        ("GeonamesOrg", "the link", {}, None),
        ("GeonamesOrg", "the link", None, None),
        ("DbpediaOrg", "the link", {"geoid": "2950159"}, None),
    ],
)
def test_link_of_a_place_is_looked_up_only_if_it_is_missing(
    owner: str, message: str, extdata: dict[str, Any] | None, expected: str | None
) -> None:
    assert place_without_link(owner, message, extdata) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(["id", "link", "geoid", "sid", "berlin_time", "desc", "otime", "name"]) | st.text(max_size=5)


@given(st.sampled_from(sorted(MACHINES)), st.text(max_size=40), st.none() | st.dictionaries(FIELDS, JSON, max_size=5))
def test_reply_is_a_text_for_any_message_and_offer(owner: str, message: str, extdata: dict[str, Any] | None) -> None:
    assert 0 < len(reply(owner, message, extdata)) <= 2000
