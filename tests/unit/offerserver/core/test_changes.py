import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from services.offerserver.core.changes import (
    KnownOffer,
    OfferChanges,
    allowed,
    changes_digest,
    find_changes,
    slices,
    stale_removals,
)
from services.offerserver.core.drafts import Parsed
from services.offerserver.core.grades import RunGrade, failed
from services.offerserver.core.picture_names import picture_path
from tests.unit.offerserver.importing import NOW_MS, draft, drafts, known, parsed, source

TRUSTED = RunGrade(name="trusted")
PARTIAL = RunGrade(name="partial")
STORED = [known(draft(n), n) for n in range(3)]


def changes(found: Parsed, stored: Sequence[KnownOffer] = STORED, **more: Any) -> OfferChanges:
    options: dict[str, Any] = {"absent_before": frozenset(), "now_ms": NOW_MS, "exchanged": {}} | more
    return find_changes(found, stored, source(), **options)


def removals(found: OfferChanges) -> list[tuple[str, str]]:
    return [(each.source_id, each.reason) for each in found.removals]


def test_same_feed_writes_nothing_whatever_its_order() -> None:
    feed = list(drafts(range(3)))
    random.Random(1).shuffle(feed)
    found = changes(parsed(*feed))
    assert found == OfferChanges(unchanged=3)
    assert (found.writes, found.is_news) == (0, False)


def test_new_item_is_news() -> None:
    found = changes(parsed(*drafts(range(4))))
    assert [item.draft.id for item in found.new] == ["id-3"]
    assert (found.unchanged, found.is_news) == (3, True)


def test_changed_readings_are_written_and_no_news() -> None:
    found = changes(parsed(*drafts(range(2)), draft(2, extdata={"temperature": "21"})))
    assert [(item.offer_id, item.draft.id) for item in found.content] == [(f"{2:024x}", "id-2")]
    assert (found.writes, found.is_news) == (1, False)


def test_moved_item_is_news() -> None:
    found = changes(parsed(*drafts(range(2)), draft(2, longitude=13.5)))
    assert [item.offer_id for item in found.matching] == [f"{2:024x}"]
    assert found.content == ()
    assert found.is_news


def test_item_is_removed_when_two_trusted_runs_lack_it() -> None:
    feed = parsed(*drafts(range(2)))
    first = changes(feed)
    assert (first.writes, first.absent) == (0, frozenset({"id-2"}))
    second = changes(feed, absent_before=first.absent)
    assert removals(second) == [("id-2", "absent")]
    assert second.absent == frozenset()


def test_item_that_returns_is_not_absent() -> None:
    found = changes(parsed(*drafts(range(3))), absent_before={"id-2"})
    assert found == OfferChanges(unchanged=3)


def test_item_that_the_source_removed_is_removed_at_once() -> None:
    found = changes(parsed(*drafts(range(2)), removed=frozenset({"id-2"})))
    assert removals(found) == [("id-2", "removed by the source")]


def test_item_is_removed_when_its_own_end_has_passed() -> None:
    past = draft(9, valid_until_ms=NOW_MS)
    stored = [known(past, 9)]
    assert removals(changes(parsed(), stored)) == [("id-9", "ended")]
    assert removals(changes(parsed(past), stored)) == [("id-9", "ended")]
    shortened = [known(draft(9, valid_until_ms=NOW_MS + 1), 9)]
    assert removals(changes(parsed(past), shortened)) == [("id-9", "ended")]
    assert changes(parsed(past), []) == OfferChanges()


def test_further_offers_of_one_id_are_removed() -> None:
    twins = [known(draft(1), 7), known(draft(1), 5)]
    found = changes(parsed(draft(1)), twins)
    assert [(each.offer_id, each.reason) for each in found.removals] == [(f"{7:024x}", "duplicate")]
    assert found.unchanged == 1


def test_offer_that_no_importer_wrote_stays() -> None:
    foreign = known(draft(1), 1, source_id="")
    assert changes(parsed(), [foreign], absent_before={""}) == OfferChanges()


def test_partial_run_removes_nothing() -> None:
    full = changes(parsed(draft(1, text="Another"), draft(3)), absent_before={"id-2"})
    assert removals(full)
    found = allowed(full, PARTIAL)
    assert found.removals == ()
    assert (found.new, found.content) == (full.new, full.content)
    assert allowed(full, TRUSTED) == full


def test_failed_run_writes_nothing() -> None:
    assert allowed(changes(parsed(draft(5)), absent_before={"id-2"}), failed("x")).writes == 0


def test_item_with_another_id_changes_its_known_offer_only_when_it_is_accepted() -> None:
    renamed = draft(1, id="new-1")
    grade = RunGrade(name="partial", reasons=("x",), exchanged={"new-1": "id-1"})
    full = changes(parsed(renamed, *drafts((0, 2))), exchanged=grade.exchanged)
    assert [(item.offer_id, item.draft.id) for item in full.content] == [(f"{1:024x}", "new-1")]
    assert (full.new, full.absent, full.is_news) == ((), frozenset(), False)
    written = allowed(full, grade)
    assert (written.writes, written.held) == (0, 1)


def test_importer_without_a_trusted_run_for_too_long_loses_its_offers() -> None:
    options: dict[str, Any] = {"now_ms": NOW_MS, "stale_after_s": 60.0}
    assert stale_removals(STORED, trusted_ms=NOW_MS - 60_000, **options) == ()
    found = stale_removals(STORED, trusted_ms=NOW_MS - 60_001, **options)
    assert {each.offer_id for each in found} == {each.offer_id for each in STORED}
    assert {each.reason for each in found} == {"stale"}


def test_changed_item_keeps_the_pictures_that_its_feed_names() -> None:
    kept, gone = "https://things.example/1.jpg", "https://things.example/2.jpg"
    offer = known(draft(1), images=(picture_path(gone), picture_path(kept)))
    for item in (draft(1, text="Another", image_urls=(kept,)), draft(1, radius_m=7, image_urls=(kept,))):
        full = changes(parsed(item), [offer])
        (changed,) = (*full.content, *full.matching)
        assert changed.images == (picture_path(kept),)


def test_digest_changes_with_storage_and_with_the_feed() -> None:
    full = changes(parsed(draft(1, text="Another"), draft(3)), absent_before={"id-2"})
    digest = changes_digest(full, STORED)
    assert changes_digest(full, reversed(STORED)) == digest
    edited = [*STORED[:2], msgspec.structs.replace(STORED[2], source_id="other")]
    assert changes_digest(full, edited) != digest
    assert changes_digest(full, STORED[:2]) != digest
    pictured = [*STORED[:2], msgspec.structs.replace(STORED[2], images=("/assets/images/1",))]
    assert changes_digest(full, pictured) != digest
    other = changes(parsed(draft(1, text="Yet another"), draft(3)), absent_before={"id-2"})
    assert changes_digest(other, STORED) != digest
    assert changes_digest(changes(parsed(draft(1, text="Another"), draft(3))), STORED) != digest


@pytest.mark.parametrize(("number", "sizes"), [(0, []), (1_500, [1_500]), (3_001, [1_500, 1_500, 1])])
def test_slices_have_at_most_1500_items(number: int, sizes: list[int]) -> None:
    assert [len(part) for part in slices(range(number))] == sizes
