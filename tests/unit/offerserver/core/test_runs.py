from typing import Any

import pytest

from services.offerserver.core.changes import KnownOffer
from services.offerserver.core.drafts import Draft, Parsed, UnreadableFeed
from services.offerserver.core.importer import Importer
from services.offerserver.core.runs import JudgedRun, RunMemory, judge
from tests.unit.offerserver.importing import NOW_MS, draft, drafts, known, parsed, source
from tests.unit.offerserver.reading import document

DOCUMENT = document("[]")


def importing(found: Parsed | UnreadableFeed) -> Importer:
    def parse(documents: object, now_ms: int) -> Parsed:
        del documents, now_ms
        if isinstance(found, UnreadableFeed):
            raise found
        return found

    return Importer(source=source(), requests=lambda _: [], parse=parse)


def run(found: Parsed | UnreadableFeed, stored: list[Draft], **changes: Any) -> JudgedRun:
    options: dict[str, Any] = {"documents": [DOCUMENT], "failures": [], "memory": RunMemory()} | changes
    offers = [known(each, n) for n, each in enumerate(stored)]
    return judge(
        importing(found),
        options["documents"],
        options["failures"],
        offers,
        memory=options["memory"],
        now_ms=NOW_MS,
    )


def test_trusted_run_writes_and_removes() -> None:
    memory = RunMemory(trusted_counts=(3,), absent=frozenset({"id-2"}))
    found = run(parsed(*drafts((0, 1, 5))), list(drafts(range(3))), memory=memory)
    assert found.grade.name == "trusted"
    assert found.changes == found.full
    assert ([each.draft.id for each in found.full.new], [each.source_id for each in found.full.removals]) == (
        ["id-5"],
        ["id-2"],
    )


def test_ended_items_are_counted_and_not_imported() -> None:
    ended = [draft(n, valid_until_ms=NOW_MS - n) for n in (1, 2)]
    found = run(parsed(draft(3, valid_until_ms=NOW_MS + 1), draft(4), *ended), [])
    assert [each.draft.id for each in found.full.new] == ["id-3", "id-4"]
    assert [(each.field, each.value) for each in found.parsed.remarks] == [("validity", "2")]


def test_run_without_a_document_is_failed() -> None:
    found = run(parsed(), [], documents=[], failures=["status 404", "status 404"])
    assert (found.grade.name, found.grade.reasons) == ("failed", ("status 404",))
    assert found.changes.writes == 0


def test_run_with_an_unreadable_document_is_failed() -> None:
    found = run(UnreadableFeed("the response is an HTML page"), list(drafts(range(3))))
    assert (found.grade.name, found.grade.reasons) == ("failed", ("the response is an HTML page",))


def test_run_with_a_missing_document_is_partial() -> None:
    found = run(parsed(draft(1)), [], failures=["status 500"])
    assert found.grade.reasons == ("a document is missing: status 500",)
    assert found.changes.writes == 1


def test_run_with_a_cut_response_is_partial() -> None:
    found = run(parsed(draft(1)), [], documents=[DOCUMENT, document("[]", is_cut=True)])
    assert found.grade.reasons == ("a response ended early",)


def test_run_with_other_ids_holds_these_items_back() -> None:
    stored = list(drafts(range(4)))
    found = run(parsed(*(draft(n, id=f"new-{n}") for n in range(4))), stored)
    assert found.grade.name == "partial"
    assert (found.changes.writes, found.changes.held) == (0, 4)
    assert (len(found.full.content), len(found.full.new), len(found.full.absent)) == (4, 0, 0)


def test_event_that_replaces_an_ended_one_is_new() -> None:
    ended = draft(1, valid_until_ms=NOW_MS - 1)
    found = run(parsed(draft(1, id="next", valid_until_ms=NOW_MS + 1)), [ended])
    assert found.grade.name == "trusted"
    assert ([each.draft.id for each in found.full.new], len(found.full.removals)) == (["next"], 1)


@pytest.mark.parametrize("ended", [4, 5, 6, 10])
def test_ends_that_move_into_the_past_remove_no_half_of_the_offers(ended: int) -> None:
    """Such as a source that sends the year 1 instead of an end."""
    stored = [draft(n, valid_until_ms=NOW_MS + 1) for n in range(10)]
    sent = [draft(n, valid_until_ms=NOW_MS - 1 if n < ended else NOW_MS + 1) for n in range(10)]
    found = run(parsed(*sent), stored)
    assert found.grade.name == ("trusted" if ended <= 5 else "partial")
    assert len(found.changes.removals) == (ended if ended <= 5 else 0)


@pytest.mark.parametrize("kept", [51, 49])
def test_half_of_the_items_decides(kept: int) -> None:
    stored = list(drafts(range(100)))
    found = run(parsed(*drafts(range(kept))), stored, memory=RunMemory(trusted_counts=(100,)))
    assert found.grade.name == ("trusted" if kept == 51 else "partial")
    assert found.changes.removals == ()


def test_offers_of_others_are_no_items() -> None:
    foreign = KnownOffer("0" * 24, "", known(draft(1)).fingerprint)
    found = judge(importing(parsed(draft(1))), [DOCUMENT], [], [foreign], memory=RunMemory(), now_ms=NOW_MS)
    assert found.grade.name == "trusted"
    assert len(found.full.new) == 1
