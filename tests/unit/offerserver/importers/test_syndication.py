import time
from pathlib import Path

import pytest

from services.offerserver.core.drafts import Parsed, UnreadableFeed
from services.offerserver.importers.syndication import SyndicationRows
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


@pytest.mark.parametrize("before", ["x\n", "&\n", "<!-- -- -->\n"])
def test_entities_behind_a_fault_are_not_expanded(before: str) -> None:
    entity = "A" * 1_000
    feed_with_them = FEED[FEED.index("<rss") :].replace("A park grows", f"A park{'&a;' * 100}")
    found = read(f'{before}<!DOCTYPE rss [\n<!ENTITY a "{entity}">\n]>\n{feed_with_them}')
    assert [draft.text[:20] for draft in found.drafts] == ["A bridge opens", "A park&a;&a;&a;&a;&a"]


@pytest.mark.parametrize("before", ["", "<!-- -->", "<!--"])
def test_blank_lines_before_the_first_element_take_a_linear_time(before: str) -> None:
    end = "-->" if before == "<!--" else ""
    began = time.monotonic()
    found = read(before + "\n" * 500_000 + end + FEED[FEED.index("<rss") :])
    assert len(found.drafts) == 2
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "text",
    [
        "<author>" + "a." * 100_000 + "</author>",
        '<description>&lt;p style="' + " " * 100_000 + 'x"&gt;</description>',
        "<description>" + "&lt;!--" * 100_000 + "</description>",
    ],
    ids=["author", "style", "comments"],
)
def test_long_text_of_an_entry_takes_a_linear_time(text: str) -> None:
    began = time.monotonic()
    found = read(FEED.replace("<item>", f"<item>{text}", 1))
    assert "news-2" in [draft.id for draft in found.drafts]
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("&#xD83D;&#xDE00;", "\U0001f600"),
        ("&#128512;", "\U0001f600"),
        ("&#xD800;", "\ufffd"),
        ("&#x110000;", "\ufffd"),
        (f"&#{'9' * 30};", "\ufffd"),
        ("&#0000;", "\ufffd"),
        ("&#xfc;", "ü"),
        ("&#99999999999", "\ufffd"),
    ],
)
def test_reference_to_no_character_costs_only_itself(reference: str, text: str) -> None:
    found = read(FEED.replace("A park grows", f"A park {reference} grows"))
    assert found.drafts[1].text == f"A park {text} grows"
    assert found.partial == ()


def test_half_a_feed_is_partial() -> None:
    found = read(FEED[: FEED.index("<item><guid>news-3")])
    assert [draft.id for draft in found.drafts] == ["news-1", "news-2"]
    assert len(found.partial) == 1
    assert found.partial[0].startswith("the XML is not well formed")


@pytest.mark.parametrize("text", ["", "<a/>", "{}", "<opml/>"])
def test_document_that_is_no_feed_is_refused(text: str) -> None:
    with pytest.raises(UnreadableFeed, match="neither RSS nor Atom"):
        read(text)


def test_document_that_is_the_path_of_a_file_is_not_opened(tmp_path: Path) -> None:
    file = tmp_path / "feed.xml"
    file.write_text(FEED)
    with pytest.raises(UnreadableFeed, match="neither RSS nor Atom"):
        read(str(file))


@pytest.mark.parametrize(
    "text",
    [
        "<rss version='2.0'><channel {attributes}/></rss>",
        "<rss version='2.0'><channel></title><item {attributes}/></channel></rss>",
        "<rss version='2.0'><channel><item {attributes}",
    ],
)
@pytest.mark.parametrize("attribute", ['a{}="1"', "a{}='<'", "a{} = 1", "a{}"])
def test_element_with_30000_attributes_is_refused_at_once(text: str, attribute: str) -> None:
    attributes = " ".join(attribute.format(n) for n in range(30_000))
    began = time.monotonic()
    with pytest.raises(UnreadableFeed, match="has more than 100 attributes"):
        read(text.format(attributes=attributes))
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("part", ["<a b=", '<a b="', "<a b='<a c=\"", "<a ", '<a b="<a y=" c=" y=" '])
def test_attributes_are_counted_in_linear_time(part: str) -> None:
    began = time.monotonic()
    list(SyndicationRows(document(f"<rss version='2.0'><channel>{part * 1_000}", kind="xml")))
    assert time.monotonic() - began < 2
