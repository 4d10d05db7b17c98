import pytest
from rich.console import Console

from deploy.operate.source_trial import counted, print_parsed
from services.offerserver.core.drafts import Draft, Parsed
from services.offerserver.core.values import Rejection
from tests.unit.offerserver.importing import source

EXCHANGED = "is outside of the area of the importer; latitude and longitude are probably exchanged"


def printed(parsed: Parsed) -> str:
    console = Console(highlight=False, width=400)
    with console.capture() as found:
        print_parsed(console, parsed, source())
    return found.get()


def test_draft_has_its_validity_address_and_all_keywords() -> None:
    draft = Draft(
        id="a",
        text="A place",
        latitude=52.5,
        longitude=13.4,
        keywords=("#own",),
        valid_until_ms=1_782_900_000_000,
        place={"en": {"route": "Main Street"}},
        extdata={"link": "https://a.example/"},
    )
    shown = printed(Parsed(drafts=(draft,)))
    assert "1 row: 1 item, 0 rejected" in shown
    for text in (" ".join((*source().keywords, "#own")), "address (en): route Main Street", "link: https://a.example/"):
        assert text in shown
    assert "valid until 2026-07-01" in shown


@pytest.mark.parametrize(
    ("parsed", "expected"),
    [
        (
            Parsed(rejections=tuple(Rejection(str(at), "Laenge", "", "is missing") for at in range(12))),
            "rejected 0  Laenge '' is missing (and 11 rows more)",
        ),
        (
            Parsed(rejections=(Rejection("1", "location", "13.4, 52.5", EXCHANGED),)),
            "All rows are in the box with latitude and longitude exchanged",
        ),
        (
            Parsed(remarks=(Rejection("", "fields.valid_until", "ends", "no row has 'ends' (rows have: id)"),)),
            "\nfields.valid_until: no row has 'ends' (rows have: id)\n",
        ),
        (Parsed(remarks=(Rejection("7", "id", "x", "occurs twice"),)), "remark 7  id 'x' occurs twice"),
        (Parsed(partial=("a response ended early",)), "partial: a response ended early"),
    ],
)
def test_what_is_wrong_is_printed(parsed: Parsed, expected: str) -> None:
    assert expected in printed(parsed)


def test_noun_has_its_number() -> None:
    assert (counted(1, "item"), counted(0, "item"), counted(1_000, "row")) == ("1 item", "0 items", "1,000 rows")
