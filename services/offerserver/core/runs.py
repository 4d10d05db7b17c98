"""A run: from the documents of a source to what may be written."""

from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from services.offerserver.core.changes import KnownOffer, OfferChanges, allowed, find_changes, has_ended
from services.offerserver.core.drafts import Draft, Parsed, UnreadableFeed, checked
from services.offerserver.core.fingerprints import fingerprint
from services.offerserver.core.grades import RunGrade, Thresholds, failed, grade
from services.offerserver.core.importer import FeedDocument, Importer
from services.offerserver.core.values import Rejection

_MOST_ENDED_EARLY: Final = 4
"""Known items that may have an end in the past at once, and had one in the future, whatever their share is."""


class RunMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of earlier runs of an importer."""

    trusted_counts: tuple[int, ...] = ()
    """The numbers of items of trusted runs, the newest first."""
    absent: frozenset[str] = frozenset()
    """The source ids that the last trusted run lacked."""


class JudgedRun(NamedTuple):
    """A run before it writes."""

    grade: RunGrade
    parsed: Parsed
    full: OfferChanges
    """What a trusted run of this content would write."""
    changes: OfferChanges
    """What this run may write."""


def parse_documents(
    importer: Importer, documents: Sequence[FeedDocument], failures: Sequence[str], *, now_ms: int
) -> Parsed:
    """Return what is in the documents, after the checks of all sources.

    `failures` are the reasons why other documents of the run are missing. Raises UnreadableFeed, also if none is left.
    """
    if not documents:
        raise UnreadableFeed("; ".join(dict.fromkeys(failures)) or "the source has no documents")
    source = importer.source
    parsed = checked(importer.parse(documents, now_ms), box=source.box, base_keywords=len(source.keywords))
    missing = tuple(f"a document is missing: {reason}" for reason in dict.fromkeys(failures))
    cut = ("a response ended early",) if any(document.is_cut for document in documents) else ()
    ended = sum(_has_ended(draft, now_ms) for draft in parsed.drafts)
    reason = "is the number of items whose own end has passed: they are not imported"
    remarks = (Rejection("", "validity", str(ended), reason), *parsed.remarks) if ended else parsed.remarks
    return msgspec.structs.replace(parsed, partial=(*missing, *cut, *parsed.partial), remarks=remarks)


def judge(  # noqa: PLR0913 - both sides, and what is remembered
    importer: Importer,
    documents: Sequence[FeedDocument],
    failures: Sequence[str],
    known: Collection[KnownOffer],
    *,
    memory: RunMemory,
    now_ms: int,
    is_stale: bool = False,
) -> JudgedRun:
    """Return the grade of a run, and what it may write.

    `is_stale`: the importer had no trusted run for so long that its offers are removed. A partial run then writes
    nothing: its offers would be created and removed again and again, each time with an event.
    """
    try:
        parsed = parse_documents(importer, documents, failures, now_ms=now_ms)
    except UnreadableFeed as error:
        return failed_run(str(error))
    source = importer.source
    current = _current(known, now_ms)
    early = sum(_has_ended(draft, now_ms) and draft.id in current for draft in parsed.drafts)
    if early > max(_MOST_ENDED_EARLY, len(current) * source.thresholds.most_exchanged):
        reason = f"{early} of {len(current)} known items have an end in the past, and had one in the future"
        parsed = msgspec.structs.replace(parsed, partial=(*parsed.partial, reason))
    found = grade(
        parsed,
        appearances={draft.id: fingerprint(draft, source).appearance for draft in parsed.drafts},
        known=current,
        trusted_counts=memory.trusted_counts,
        thresholds=source.thresholds,
    )
    full = find_changes(parsed, known, source, absent_before=memory.absent, now_ms=now_ms, exchanged=found.exchanged)
    if is_stale and not found.may_remove:
        found = msgspec.structs.replace(found, reasons=(*found.reasons, "the importer has had no trusted run for long"))
        return JudgedRun(found, parsed, full, OfferChanges(unchanged=full.unchanged))
    return JudgedRun(found, parsed, full, allowed(full, found))


def failed_run(reason: str) -> JudgedRun:
    """Return a run that writes nothing."""
    return JudgedRun(failed(reason), Parsed(), OfferChanges(), OfferChanges())


def after_refusals(judged: JudgedRun, refused: int, thresholds: Thresholds) -> RunGrade:
    """Return the grade after storage has refused some offers. They count like rejected rows."""
    if not refused:
        return judged.grade
    reasons = (*judged.grade.reasons, f"storage refused {refused} offers")
    is_suspect = refused > thresholds.most_rejected * len(judged.parsed.drafts)
    name = "partial" if is_suspect and judged.grade.may_remove else judged.grade.name
    return msgspec.structs.replace(judged.grade, name=name, reasons=reasons)


def _has_ended(draft: Draft, now_ms: int) -> bool:
    return draft.valid_until_ms is not None and draft.valid_until_ms <= now_ms


def _current(known: Iterable[KnownOffer], now_ms: int) -> dict[str, tuple[str, str]]:
    """Return the appearances of offers by their source id. An event that has ended is no item that another replaced."""
    return {
        offer.source_id: offer.fingerprint.appearance
        for offer in known
        if offer.source_id and not has_ended(offer, now_ms)
    }
