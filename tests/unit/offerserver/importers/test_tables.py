import pytest

from services.offerserver.core.drafts import Parsed, UnreadableFeed
from services.offerserver.core.fingerprints import id_of_parts
from tests.unit.offerserver.reading import configured, document, feed, parse, rejected


def read(text: str) -> Parsed:
    return parse(configured("libraries.yaml"), document(text, kind="csv"))


def test_lines_are_read_by_their_mapping() -> None:
    first, second = read(feed("libraries.csv")).drafts
    assert first.text == 'Bibliothek "Am See"'
    assert first.id == id_of_parts('Bibliothek "Am See"', "Seestr. 1")
    assert (first.latitude, first.longitude) == (52.55, 13.35)
    assert first.keywords == ("#kinder", "#musik")
    assert first.place == {"en": {"route": "Seestr. 1"}}
    assert (second.text, second.keywords) == ("Zentralbibliothek", ())


def test_lines_with_gaps_are_rejected_alone() -> None:
    assert sorted(reason for _, _, reason in rejected(read(feed("libraries.csv")))) == [
        "has 3 columns; the first line has 5",
        "is missing",
    ]


def test_document_of_unreadable_lines_is_refused_in_bounded_memory() -> None:
    with pytest.raises(UnreadableFeed, match="more than 200000 rows"):
        read("a;b\n" + "c\n" * 200_001)


def test_order_of_lines_and_columns_does_not_change_ids() -> None:
    names, *lines = [line.split(";") for line in feed("libraries.csv").splitlines()]
    turned = "\n".join(";".join(reversed(line)) for line in (names, *reversed(lines)) if len(line) == 5)
    assert {draft.id for draft in read(turned).drafts} == {draft.id for draft in read(feed("libraries.csv")).drafts}


@pytest.mark.parametrize("text", ["", "one column\n1\n", "{}"])
def test_document_that_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(UnreadableFeed, match="fewer than two columns"):
        read(text)


def lines(*found: str) -> str:
    return "\n".join(["Name;Strasse;Breite;Laenge;Art", *found, ""])


def test_field_of_200_kb_is_rejected_alone() -> None:
    found = read(lines("A;B;52,5;13,4;", f'"{"x" * 200_000}";B;52,5;13,4;', "C;D;52,5;13,4;"))
    assert [draft.text for draft in found.drafts] == ["A", "C"]
    assert [reason for _, _, reason in rejected(found)] == ["has 200000 characters; at most 20000 are read"]
    assert found.partial == ()


@pytest.mark.parametrize(("field", "text"), [('"x"y', "xy"), ('x"y', 'x"y'), ('"x""y"', 'x"y'), ("x\x00", "x")])
def test_quotation_mark_within_a_field_does_not_end_the_table(field: str, text: str) -> None:
    found = read(lines(f"{field};B;52,5;13,4;", "C;D;52,5;13,4;"))
    assert [draft.text for draft in found.drafts] == [text, "C"]
    assert (found.rejections, found.partial) == ((), ())


@pytest.mark.parametrize("line", ['"C;D;52,5;13,4;', 'C;"D;52,5;13,4;', 'C;D;52,5;13,4;"'])
def test_quotation_mark_that_is_not_closed_makes_the_run_partial(line: str) -> None:
    found = read(lines("A;B;52,5;13,4;", line, "E;F;52,5;13,4;"))
    assert [draft.text for draft in found.drafts] == ["A"]
    assert len(found.rejections) == 1
    assert found.partial == ("line 3 has a quotation mark that is not closed in it",)


def test_quotation_mark_of_the_first_line_is_closed() -> None:
    with pytest.raises(UnreadableFeed, match="the first line has a quotation mark that is not closed"):
        read('Name;Strasse;Breite;Laenge;"Art\nA;B;52,5;13,4;\n')


def test_field_may_have_several_lines() -> None:
    found = read(lines('"A\n B";C;52,5;13,4;', "\x00", "D;E;52,5;13,4;"))
    assert [draft.text for draft in found.drafts] == ["A B", "D"]
    assert found.partial == ()
