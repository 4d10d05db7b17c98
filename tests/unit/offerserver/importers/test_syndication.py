import time

import pytest

from services.offerserver.core.drafts import Parsed, UnreadableFeed
from tests.unit.offerserver.reading import configured, document, feed, parse, rejected

FEED = feed("news.xml")
BOMB = (
    '<!DOCTYPE rss [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
    + ']><rss version="2.0"><channel><item><title>&j;</title></item></channel></rss>'
)
EXTERNAL = (
    '<!DOCTYPE rss [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    '<rss version="2.0"><channel><item><title>&a;</title></item></channel></rss>'
)
ATOM = """
<feed xmlns="http://www.w3.org/2005/Atom" xmlns:georss="http://www.georss.org/georss"><entry>
<id>urn:1</id><title type="html">A &amp;amp; B</title><georss:point>52.5 13.4</georss:point>
</entry></feed>
"""


def read(text: str) -> Parsed:
    return parse(configured("news.yaml"), document(text, kind="xml"))


def test_entries_with_a_point_are_read() -> None:
    found = read(FEED)
    assert [(draft.id, draft.text, draft.latitude, draft.longitude) for draft in found.drafts] == [
        ("news-1", "A bridge opens", 52.5, 13.4),
        ("news-2", "A park grows", 52.6, 13.5),
    ]
    first = found.drafts[0]
    assert (first.keywords, first.image_urls) == (("#traffic",), ("https://news.example/1.jpg",))
    assert first.extdata == {"link": "https://news.example/1"}
    assert found.partial == ()


def test_entries_without_a_point_are_rejected() -> None:
    assert rejected(read(FEED)) == [
        ("news-3", "latitude", "is missing"),
        ("news-4", "latitude", "is not a finite number"),
    ]


def test_atom_is_read() -> None:
    (draft,) = read(ATOM.strip()).drafts
    assert (draft.id, draft.text) == ("urn:1", "A & B")


@pytest.mark.parametrize("text", [BOMB, EXTERNAL, f'<?xml version="1.0" encoding="utf-7"?>{BOMB}'])
def test_document_with_entities_is_refused(text: str) -> None:
    began = time.monotonic()
    with pytest.raises(UnreadableFeed, match="the XML declares entities"):
        read(text)
    assert time.monotonic() - began < 5


def test_half_a_feed_is_partial() -> None:
    found = read(FEED[: FEED.index("<item><guid>news-3")])
    assert [draft.id for draft in found.drafts] == ["news-1", "news-2"]
    assert len(found.partial) == 1
    assert found.partial[0].startswith("the XML is not well formed")


@pytest.mark.parametrize("text", ["", "<a/>", "{}", "<opml/>"])
def test_document_that_is_no_feed_is_refused(text: str) -> None:
    with pytest.raises(UnreadableFeed, match="neither RSS nor Atom"):
        read(text)
