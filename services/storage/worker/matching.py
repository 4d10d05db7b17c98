"""Matching: matches one claimed object: candidates, decisions, and the pairs that end.

The candidates come slice by slice. After each full slice the progress is stored with the object, so that another
process continues a fan-out after a kill, at the disc where it was. Pairs of that disc that are decided already cost one
read each 500.
"""

import contextlib
from collections.abc import Callable
from typing import Final, Literal

from services.backbone.logs import get_logger
from services.storage.core.matching import Match, MatchSide, decide
from services.storage.core.objects import RANK_FAN_OUT, RANK_IMPORT, StoredObject
from services.storage.core.pairs import Judged, PairState
from services.storage.core.radii import CLASSES
from services.storage.metrics import Metrics
from services.storage.store import (
    CandidateFinder,
    CandidateSlice,
    ClaimedObject,
    Database,
    DueObjects,
    FanOutProgress,
    PairStore,
)
from services.storage.store.candidates import SLICE
from services.storage.worker.pair_writer import PairWriter

log = get_logger(__name__)

MatchingEnd = Literal["finished", "changed", "interrupted"]
"""How a matching ends.

- finished: the mark is cleared
- changed: the object has a newer version, which is due
- interrupted: the quantum is used up; the object is due with a higher rank, and its progress is stored
"""

_MAX_ENDING_ROUNDS: Final = 10_000
_ALL_DISCS: Final = len(CLASSES)
"""The progress of a matching that has found all candidates: there are at most as many discs as classes."""


class Matching:
    """Matches claimed objects. All methods raise PyMongoError while the database is not available."""

    def __init__(  # noqa: PLR0913 - the stores, and what is called for
        self,
        database: Database,
        writer: PairWriter,
        metrics: Metrics,
        *,
        now_ms: Callable[[], int],
        lease_ms: int,
        at_point: Callable[[str], None],
    ) -> None:
        self._finder = CandidateFinder(database)
        self._due = DueObjects(database)
        self._pairs = PairStore(database)
        self._writer = writer
        self._metrics = metrics
        self._now_ms = now_ms
        self._lease_ms = lease_ms
        self._at_point = at_point

    async def match(self, claimed: ClaimedObject, *, quantum: int | None = None) -> MatchingEnd:
        """Match an object, and end the claim. At most `quantum` slices of candidates, then of pairs that may end."""
        stored = claimed.stored
        started_ms = claimed.progress.started_ms or self._now_ms()
        if _can_match(stored, started_ms):
            end = await self._enter_pairs(claimed, started_ms, quantum)
            if end != "finished":
                return end
        end, is_leaving = await self._end_pairs(claimed, started_ms, quantum)
        if end != "finished":
            return end
        self._at_point("before_finish")
        finished = await self._due.finish(
            claimed,
            next_due_ms=stored.next_due_ms(started_ms),
            matched=stored.fields.location,
            is_leaving=is_leaving,
        )
        self._metrics.matched.labels(stored.kind).inc()
        return "finished" if finished else "changed"

    async def _enter_pairs(self, claimed: ClaimedObject, started_ms: int, quantum: int | None) -> MatchingEnd:
        stored = claimed.stored
        slices = 0
        finds = self._finder.find(stored.kind, stored.side, started_ms, first_disc=claimed.progress.disc)
        async with contextlib.aclosing(finds) as found:
            async for each in found:
                # Encounters of later slices wait behind the first ones of other objects.
                rank = _owed_rank(stored) if slices == 0 else max(_owed_rank(stored), RANK_FAN_OUT)
                await self._take(stored, each, rank, started_ms)
                self._at_point("slice_matched")
                slices += 1
                if len(each.sides) < SLICE:
                    continue
                if not await self._renew(claimed, FanOutProgress(each.disc, started_ms)):
                    await self._due.release(claimed)
                    return "changed"
                if quantum is not None and slices >= quantum:
                    await self._due.release(claimed, rank=max(stored.due_rank, RANK_FAN_OUT))
                    return "interrupted"
        return "finished"

    async def _renew(self, claimed: ClaimedObject, progress: FanOutProgress) -> bool:
        return await self._due.renew(claimed, progress, now_ms=self._now_ms(), lease_ms=self._lease_ms)

    async def _take(self, stored: StoredObject, each: CandidateSlice, rank: int, started_ms: int) -> None:
        now_ms = max(self._now_ms(), started_ms)
        subject = stored.side
        judged = [self._judge(stored, subject, side, now_ms) for side in each.sides]
        matches = [found for found in judged if isinstance(found.decision, Match)]
        self._metrics.candidates.labels(stored.kind).inc(len(each.sides))
        self._metrics.matches.labels(stored.kind).inc(len(matches))
        if matches:
            await self._writer.apply(matches, owed_rank=rank, since_ms=started_ms)

    async def _end_pairs(
        self, claimed: ClaimedObject, started_ms: int, quantum: int | None
    ) -> tuple[MatchingEnd, bool]:
        """Decide the pairs that are in and were no match in this run. Return also whether one of them is leaving.

        Where that is not known, the object counts as leaving: then its next fix is matched, however near it is.
        """
        stored = claimed.stored
        is_leaving = claimed.progress.started_ms > 0  # an earlier run may have decided pairs
        before: set[str] = set()
        for rounds in range(1, _MAX_ENDING_ROUNDS + 1):
            pairs = await self._pairs.undecided(
                stored.kind, stored.id, stored.version, before_ms=started_ms, limit=SLICE
            )
            if not pairs or {pair.id for pair in pairs} <= before:
                break
            before = {pair.id for pair in pairs}
            current = await self._writer.judge(pairs)
            judged = [self._with_subject(stored, each, started_ms) for each in current.values()]
            written = await self._writer.apply(judged, owed_rank=_owed_rank(stored), since_ms=started_ms)
            # Another writer decided the other ones, without the fixes of this object.
            is_leaving |= len(written) < len(judged) or any(_is_subject_leaving(stored, pair) for pair in written)
            if len(pairs) < SLICE:
                continue
            if not await self._renew(claimed, FanOutProgress(_ALL_DISCS, started_ms)):
                await self._due.release(claimed)
                return "changed", is_leaving
            if quantum is not None and rounds >= quantum:
                await self._due.release(claimed, rank=max(stored.due_rank, RANK_FAN_OUT))
                return "interrupted", is_leaving
        return "finished", is_leaving

    def _with_subject(self, stored: StoredObject, judged: Judged, started_ms: int) -> Judged:
        other = judged.search if stored.kind == "offer" else judged.offer
        return self._judge(stored, stored.side, other, max(judged.now_ms, started_ms))

    def _judge(self, stored: StoredObject, subject: MatchSide, other: MatchSide, now_ms: int) -> Judged:
        if stored.kind == "offer":
            return Judged(subject, other, decide(subject, other, now_ms), now_ms, offer_fixes=stored.fixes)
        return Judged(other, subject, decide(other, subject, now_ms), now_ms, search_fixes=stored.fixes)


def _owed_rank(stored: StoredObject) -> int:
    """Return the rank of encounters. Those of a failing object do not fail."""
    return min(stored.due_rank, RANK_IMPORT)


def _can_match(stored: StoredObject, now_ms: int) -> bool:
    fields = stored.fields
    begun = fields.valid_from_ms is None or fields.valid_from_ms <= now_ms
    return stored.is_matchable and begun and (fields.valid_until_ms is None or now_ms < fields.valid_until_ms)


def _is_subject_leaving(stored: StoredObject, pair: PairState) -> bool:
    leaving = pair.offer_leaving if stored.kind == "offer" else pair.search_leaving
    return pair.is_in and leaving.fixes > 0
