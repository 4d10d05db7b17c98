from collections.abc import Mapping, Sequence
from typing import Any

from services.offerserver.core.drafts import Draft, Parsed
from services.offerserver.core.fingerprints import fingerprint
from services.offerserver.core.grades import RunGrade, Thresholds, exchanged_ids, failed, grade
from services.offerserver.core.values import Rejection
from tests.unit.offerserver.importing import draft, drafts, parsed, source

ROW = Rejection("1", "text", "", "is empty")
THRESHOLDS = Thresholds()


def appearances(found: Sequence[Draft]) -> Mapping[str, tuple[str, str]]:
    return {each.id: fingerprint(each, source()).appearance for each in found}


def graded(found: Parsed, stored: Sequence[Draft] = (), counts: Sequence[int] = (), **changes: Any) -> RunGrade:
    thresholds = Thresholds(**changes)
    found_now = appearances(found.drafts)
    return grade(found, appearances=found_now, known=appearances(stored), trusted_counts=counts, thresholds=thresholds)


def test_complete_feed_is_trusted() -> None:
    found = graded(parsed(*drafts(range(10))), drafts(range(10)), [10, 10])
    assert found == RunGrade(name="trusted")
    assert found.may_write
    assert found.may_remove


def test_failed_run_may_nothing() -> None:
    found = failed("the response is an HTML page")
    assert found.reasons == ("the response is an HTML page",)
    assert not found.may_write
    assert not found.may_remove


def test_partial_run_writes_and_removes_nothing() -> None:
    found = graded(parsed(*drafts(range(10)), partial=("the response is cut",)))
    assert (found.name, found.reasons) == ("partial", ("the response is cut",))
    assert found.may_write
    assert not found.may_remove


def test_run_with_more_than_a_fifth_rejected_is_partial() -> None:
    four = drafts(range(4))
    assert graded(parsed(*four, rejections=(ROW,))).name == "trusted"
    found = graded(parsed(*four, rejections=(ROW, ROW)))
    assert found.reasons == ("2 of 6 rows were rejected",)


def test_run_without_items_is_partial() -> None:
    assert graded(parsed()).reasons == ("it has no items",)
    assert graded(parsed(rejections=(ROW,))).reasons == ("1 of 1 rows were rejected", "it has no items")


def test_run_with_less_than_half_of_the_usual_items_is_partial() -> None:
    counts = [100, 90, 110, 100, 100, 1, 1, 1, 1]
    assert graded(parsed(*drafts(range(51))), counts=counts).name == "trusted"
    assert graded(parsed(*drafts(range(50))), counts=counts).name == "trusted"
    found = graded(parsed(*drafts(range(49))), counts=counts)
    assert found.reasons == ("49 items are fewer than 50% of 100, the median of 5 trusted runs",)


def test_first_run_has_a_floor() -> None:
    assert graded(parsed(draft(1))).name == "trusted"
    found = graded(parsed(draft(1)), floor=10)
    assert found.reasons == ("1 items are fewer than 10, which a first run must have",)
    assert graded(parsed(draft(1)), counts=[1], floor=10).name == "trusted"


def test_feed_with_other_ids_for_most_items_is_partial() -> None:
    stored = drafts(range(10))
    renamed = [draft(n, id=f"new-{n}") for n in range(6)]
    found = graded(parsed(*renamed, *stored[6:]), stored, [10])
    assert found.reasons == ("6 of 10 known items have another id, and the same title and place",)
    assert found.exchanged == {f"new-{n}": f"id-{n}" for n in range(6)}
    assert graded(parsed(*renamed[:5], *stored[5:]), stored, [10]) == RunGrade(name="trusted")


def test_items_that_moved_are_not_exchanged() -> None:
    stored = drafts(range(10))
    moved = [draft(n, id=f"new-{n}", longitude=13.5) for n in range(10)]
    assert graded(parsed(*moved), stored, [10]).name == "trusted"


def test_items_of_one_appearance_are_exchanged_one_by_one() -> None:
    twins = {"a": ("p", "t"), "b": ("p", "t")}
    assert exchanged_ids({"c": ("p", "t"), "d": ("p", "t"), "e": ("p", "t")}, twins) == {"c": "a", "d": "b"}
    assert exchanged_ids({"c": ("", "")}, {"a": ("", "")}) == {}


def test_all_reasons_are_listed() -> None:
    found = graded(parsed(draft(1), rejections=(ROW,), partial=("it is cut",)), counts=[100])
    assert len(found.reasons) == 3
