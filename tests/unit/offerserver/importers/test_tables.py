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


def test_order_of_lines_and_columns_does_not_change_ids() -> None:
    names, *lines = [line.split(";") for line in feed("libraries.csv").splitlines()]
    turned = "\n".join(";".join(reversed(line)) for line in (names, *reversed(lines)) if len(line) == 5)
    assert {draft.id for draft in read(turned).drafts} == {draft.id for draft in read(feed("libraries.csv")).drafts}


@pytest.mark.parametrize("text", ["", "one column\n1\n", "{}"])
def test_document_that_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(UnreadableFeed, match="fewer than two columns"):
        read(text)


def test_field_of_200_kb_makes_the_run_partial() -> None:
    found = read(f'Name;Strasse;Breite;Laenge;Art\nA;B;52,5;13,4;\n"{"x" * 200_000}";B;52,5;13,4;\n')
    assert [draft.text for draft in found.drafts] == ["A"]
    assert found.partial == ("the table is not well formed after line 3: field larger than field limit (131072)",)
