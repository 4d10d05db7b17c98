"""PairWriter: writes the states of pairs after decisions, and decides again where another writer was faster.

Two matchers can decide one pair at the same time, each from an older version of the other object. So the versions are
read again after the write. A version that changed meanwhile leads to another decision:

    matcher of offer:   read search v1 ......................... write in(v1), read search: v2 -> decide again -> out
    change of search:            write v2
    matcher of search:                     no pair to end
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final

from services.storage.core.matching import MatchSide, SubjectKind, decide
from services.storage.core.movement import LEAVE_S
from services.storage.core.pairs import Judged, PairState, age_of, next_state, pair_id
from services.storage.core.sphere import GeoPoint
from services.storage.metrics import Metrics
from services.storage.store import ObjectConflict, ObjectStore, PairChange, PairStore

_MAX_ATTEMPTS: Final = 10


class PairWriter:
    """Applies decisions. All methods raise PyMongoError while the database is not available."""

    def __init__(  # noqa: PLR0913 - the stores, and what is called for
        self,
        objects: ObjectStore,
        pairs: PairStore,
        metrics: Metrics,
        *,
        now_ms: Callable[[], int],
        on_encounters: Callable[[], None],
        at_point: Callable[[str], None],
        leave_s: float = LEAVE_S,
    ) -> None:
        self._objects = objects
        self._pairs = pairs
        self._metrics = metrics
        self._now_ms = now_ms
        self._on_encounters = on_encounters
        self._at_point = at_point
        self._leave_s = leave_s

    async def apply(self, judged: Collection[Judged], *, owed_rank: int, since_ms: int) -> list[PairState]:
        """Write the states after decisions. Return those that were written.

        A pair that was decided from the same versions since `since_ms` is skipped: an interrupted matching resumes so.
        """
        found = await self._pairs.get(pair_id(each.search.id, each.offer.id) for each in judged)
        changes: list[PairChange] = []
        again: set[str] = set()
        for each in judged:
            pair = found.get(pair_id(each.search.id, each.offer.id))
            if pair is not None:
                if _is_decided(pair, each, since_ms):
                    continue
                if age_of(pair, each) != "newer":
                    if _is_outdated(pair, each):
                        again.add(pair.id)
                    continue
            after = next_state(pair, each, leave_s=self._leave_s)
            if after is not None:
                changes.append(PairChange(pair, after))
        self._at_point("decided")
        forestalled = set(await self._pairs.write(changes, owed_rank=owed_rank))
        self._at_point("pairs_written")
        written = [change for change in changes if change.after.id not in forestalled]
        again |= forestalled | await self._outdated([change.after for change in written if change.after.is_in])
        await self._decide_again(again, owed_rank)
        self._report(written)
        return [change.after for change in written if change.after.id not in again]

    async def _outdated(self, pairs: Sequence[PairState]) -> set[str]:
        """Return the ids of the pairs with an object that has another version than the decision."""
        if not pairs:
            return set()
        offers = await self._objects.versions("offer", {pair.offer_id for pair in pairs})
        searches = await self._objects.versions("search", {pair.search_id for pair in pairs})
        return {
            pair.id
            for pair in pairs
            if (searches.get(pair.search_id), offers.get(pair.offer_id)) != (pair.search_version, pair.offer_version)
        }

    async def _decide_again(self, pair_ids: set[str], owed_rank: int) -> None:
        """Decide pairs from the current objects until no other writer is faster. Raises ObjectConflict."""
        for _ in range(_MAX_ATTEMPTS):
            if not pair_ids:
                return
            self._metrics.rechecked.inc(len(pair_ids))
            pairs = await self._pairs.get(pair_ids)
            judged = await self.judge(list(pairs.values()))
            changes = [
                PairChange(pairs[name], after)
                for name, each in judged.items()
                # The objects are read after the pair, so a decision from them is never older.
                if (after := next_state(pairs[name], each, leave_s=self._leave_s)) is not None
            ]
            forestalled = set(await self._pairs.write(changes, owed_rank=owed_rank))
            written = [change for change in changes if change.after.id not in forestalled]
            self._report(written)
            pair_ids = forestalled | await self._outdated([change.after for change in written if change.after.is_in])
        raise ObjectConflict(f"{len(pair_ids)} pairs changed during each of {_MAX_ATTEMPTS} decisions")

    async def judge(self, pairs: Sequence[PairState]) -> dict[str, Judged]:
        """Decide pairs from the current objects, by pair id. An object that was removed counts as inactive."""
        offers = await self._objects.sides("offer", {pair.offer_id for pair in pairs})
        searches = await self._objects.sides("search", {pair.search_id for pair in pairs})
        judged = {}
        for pair in pairs:
            offer, search = offers.get(pair.offer_id), searches.get(pair.search_id)
            offer = offer or _removed("offer", pair, search)
            search = search or _removed("search", pair, offer)
            now_ms = max(self._now_ms(), pair.decided_ms)
            judged[pair.id] = Judged(offer, search, decide(offer, search, now_ms), now_ms)
        return judged

    def _report(self, written: Sequence[PairChange]) -> None:
        encounters = sum(change.begins_encounter for change in written)
        if encounters:
            self._metrics.encounters.inc(encounters)
            self._on_encounters()


def _is_decided(pair: PairState, judged: Judged, since_ms: int) -> bool:
    versions = (pair.search_version, pair.offer_version) == (judged.search.version, judged.offer.version)
    return pair.is_in and versions and pair.decided_ms >= since_ms


def _is_outdated(pair: PairState, judged: Judged) -> bool:
    return judged.search.version < pair.search_version or judged.offer.version < pair.offer_version


def _removed(kind: SubjectKind, pair: PairState, other: MatchSide | None) -> MatchSide:
    """Return a stand-in for an object that the store no longer has."""
    version = (pair.offer_version if kind == "offer" else pair.search_version) + 1
    return MatchSide(
        id=pair.offer_id if kind == "offer" else pair.search_id,
        owner="",
        location=other.location if other else GeoPoint(0.0, 0.0),
        radius_m=0.0,
        keys=(),
        version=version,
        edited_version=version,
        is_active=False,
    )
