from services.offerserver.core.changes import ChangedItem, NewItem, OfferChanges, Removal
from services.offerserver.core.exchanges import HttpExchange
from services.offerserver.core.fingerprints import fingerprint
from services.offerserver.core.reports import (
    MOST_LISTED,
    RunCounts,
    RunReport,
    differences,
    listed_rejections,
    run_counts,
)
from services.offerserver.core.values import Rejection
from tests.unit.offerserver.importing import draft, drafts, parsed, source

MARK = fingerprint(draft(1), source())


def test_differences_have_some_lines_of_each_kind() -> None:
    many = OfferChanges(
        new=tuple(NewItem(draft(n), MARK) for n in range(1_000)),
        matching=(ChangedItem("1", draft(1, text="x" * 500), MARK),),
        removals=tuple(Removal(str(n), f"id-{n}", "absent") for n in range(1_000)),
        absent=frozenset({"b", "a"}),
    )
    found = differences(many)
    assert len(found) <= MOST_LISTED
    assert {each.kind for each in found} == {"new", "match", "removed", "absent"}
    assert [each.id for each in found if each.kind == "absent"] == ["a", "b"]
    assert next(each.text for each in found if each.kind == "match") == "x" * 79 + "…"
    assert found[0].text == "absent"


def test_counts_are_those_of_the_changes() -> None:
    row = Rejection("1", "text", "", "is empty")
    changes = OfferChanges(new=(NewItem(draft(1), MARK),), unchanged=4, absent=frozenset({"x"}), held=2)
    found = run_counts(parsed(*drafts(range(5)), rejections=(row,)), changes, refused=3)
    assert found == RunCounts(items=5, rejected=1, new=1, unchanged=4, absent=1, held=2, refused=3)


def test_rejections_of_a_run_are_bounded() -> None:
    row = Rejection("1", "text", "", "is empty")
    rejections, remarks = listed_rejections(parsed(rejections=(row,) * 1_000, remarks=(row,) * 1_000))
    assert (len(rejections), len(remarks)) == (200, 50)


def test_bytes_and_retries_are_those_of_all_requests() -> None:
    exchanges = tuple(HttpExchange(url="https://a.example/", received_bytes=10, retries=n) for n in range(3))
    report = RunReport(number=1, began_ms=1, ended_ms=2, mode="run", grade="trusted", exchanges=exchanges)
    assert (report.bytes, report.retries) == (30, 3)
