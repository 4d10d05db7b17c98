"""PairStore: the states of pairs, and the encounters that are not reported yet.

A write succeeds only on the revision that it was made from. A new encounter writes its owed mark in the same write, so
a kill between matching and notifying loses no encounter.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pymongo import ASCENDING, InsertOne, UpdateOne
from pymongo.errors import BulkWriteError

from services.backbone.mongo import duplicates_of
from services.storage.core.document_forms import MalformedDocument
from services.storage.core.documents import from_pair_document, to_pair_document
from services.storage.core.matching import SubjectKind
from services.storage.core.objects import RANK_FAILING, RANK_RETRIED, RANKS
from services.storage.core.pairs import EncounterReport, PairState
from services.storage.store.database import PAIRS, Database
from services.storage.store.failing import FIRST_PAUSE_MS, postponement

_KEPT_REPORTS: Final = 32
_RANKS: Final = (*RANKS, RANK_RETRIED)


class PairChange(NamedTuple):
    """A state to write, and the state that it was made from."""

    before: PairState | None
    after: PairState

    @property
    def begins_encounter(self) -> bool:
        """Whether the pair has entered."""
        return self.after.encounter > (self.before.encounter if self.before else 0)


class OwingPairs(NamedTuple):
    """Claimed pairs with owed encounters."""

    pairs: list[PairState]
    malformed: list[tuple[str, MalformedDocument]]
    """The ids of pairs that could not be read, and why. They are postponed."""


class PairStore:
    """Pairs by id. All methods raise PyMongoError while the database is not available.

    A pair that cannot be read counts as unknown. It gets the mark of a failing pair, so that it is counted and logged.
    """

    def __init__(self, database: Database) -> None:
        self._pairs = database[PAIRS]

    async def get(self, pair_ids: Iterable[str]) -> dict[str, PairState]:
        """Return the known pairs among the ids."""
        return {pair.id: pair for pair in await self._read({"_id": {"$in": list(pair_ids)}})}

    async def undecided(
        self, kind: SubjectKind, object_id: str, version: int, *, before_ms: int, limit: int
    ) -> list[PairState]:
        """Return pairs of an object that are in, and were decided from another version or before a time.

        The version is what counts after a change: the clocks of two processes differ. The time counts at the end of
        validity.
        """
        other = [{f"{kind}_version": {"$ne": version}}, {"decided": {"$lt": before_ms}}]
        return await self._read({kind: object_id, "in": True, "$or": other}, limit=limit)

    async def _read(self, wanted: Mapping[str, Any], *, limit: int = 0) -> list[PairState]:
        pairs, malformed = _pairs(await self._pairs.find(wanted, limit=limit).to_list())
        if malformed:
            unmarked = {"_id": {"$in": [name for name, _ in malformed]}, "owed_at": {"$exists": False}}
            await self._pairs.update_many(unmarked, {"$set": {"owed_at": 0, "owed_rank": RANK_FAILING}})
        return pairs

    async def write(self, changes: Sequence[PairChange], *, owed_rank: int) -> list[str]:
        """Write the changes. Return the ids of those that another writer has forestalled; they are not written."""
        if not changes:
            return []
        try:
            done = await self._pairs.bulk_write([_operation(change, owed_rank) for change in changes], ordered=False)
        except BulkWriteError as error:
            duplicates_of(error)  # raises other failures
        else:
            if done.matched_count + done.inserted_count == len(changes):
                return []
        found = await self.get(change.after.id for change in changes)
        return [change.after.id for change in changes if found.get(change.after.id) != _as_stored(change, found)]

    async def claim_owed(
        self, *, limit: int, now_ms: int, lease_ms: int, token: str, failing: bool = False
    ) -> OwingPairs:
        """Claim pairs with owed encounters. Return them by rank, oldest first. The lease ends by itself.

        `failing`: claim those whose encounters could not be reported while others were, and no others.
        """
        wanted = {
            "owed_at": {"$exists": True},
            "owed_rank": RANK_FAILING if failing else {"$in": list(_RANKS)},
            "owed_until": {"$not": {"$gt": now_ms}},
        }
        order = [("owed_rank", ASCENDING), ("owed_at", ASCENDING)]
        ids = [document["_id"] async for document in self._pairs.find(wanted, {"_id": 1}, sort=order, limit=limit)]
        if not ids:
            return OwingPairs([], [])
        # The condition again: of several processes that read the same ids, one gets each pair.
        lease = {"owed_until": now_ms + lease_ms, "owed_token": token}
        await self._pairs.update_many({"_id": {"$in": ids}, **wanted}, {"$set": lease})
        claimed = await self._pairs.find({"_id": {"$in": ids}, "owed_token": token}).to_list()
        owing = _pairs(sorted(claimed, key=lambda document: ids.index(document["_id"])))
        await self.postpone_owed([name for name, _ in owing.malformed], token=token, now_ms=now_ms)
        return owing

    async def note_notified(self, pair: PairState, reports: Sequence[EncounterReport]) -> None:
        """Note that all encounters up to `pair.encounter` are reported. A later encounter stays owed.

        The pair keeps its newest 32 reports.
        """
        added = {"$each": [list(report) for report in reports], "$slice": -_KEPT_REPORTS}
        noted = {"$max": {"notified": pair.encounter}, "$push": {"reports": added}}
        lease = {"owed_until": "", "owed_token": ""}
        ended = {"$unset": {"owed_at": "", "owed_rank": "", "owed_failures": "", **lease}}
        done = await self._pairs.update_one({"_id": pair.id, "encounter": pair.encounter}, {**noted, **ended})
        if not done.matched_count:
            await self._pairs.update_one({"_id": pair.id}, {**noted, "$unset": lease})

    async def release_owed(self, pair_ids: Sequence[str], *, token: str, until_ms: int = 0) -> None:
        """End the leases of pairs whose encounters are not reported. They can be claimed again from `until_ms` on."""
        mine = {"_id": {"$in": list(pair_ids)}, "owed_token": token}
        await self._pairs.update_many(mine, {"$set": {"owed_until": until_ms}, "$unset": {"owed_token": ""}})

    async def retry_owed(self, pair_ids: Sequence[str], *, token: str, now_ms: int) -> None:
        """End the leases of pairs that could not be reported. After a pause they are claimed again, behind others."""
        mine = {"_id": {"$in": list(pair_ids)}, "owed_token": token}
        later = {"owed_until": now_ms + FIRST_PAUSE_MS, "owed_rank": RANK_RETRIED}
        await self._pairs.update_many(mine, {"$set": later, "$unset": {"owed_token": ""}})

    async def postpone_owed(self, pair_ids: Sequence[str], *, token: str, now_ms: int) -> None:
        """End the leases of pairs that failed while others were reported. They are claimed as `failing` from now on."""
        if pair_ids:
            mine = {"_id": {"$in": list(pair_ids)}, "owed_token": token}
            also = {"owed_rank": RANK_FAILING, "owed_token": None}
            update = postponement(now_ms=now_ms, failures="owed_failures", until="owed_until", also=also)
            await self._pairs.update_many(mine, update)

    async def failing(self) -> int:
        """Return the number of pairs with owed encounters that no other rank contains."""
        return await self._pairs.count_documents({"owed_at": {"$exists": True}, "owed_rank": {"$nin": list(_RANKS)}})

    async def owed(self, *, now_ms: int) -> tuple[int, int]:
        """Return the number of pairs with owed encounters and the age of the oldest one in ms (0 without one).

        Failing pairs are not among them.
        """
        number = await self._pairs.count_documents({"owed_at": {"$exists": True}, "owed_rank": {"$in": list(_RANKS)}})
        oldest_ms = now_ms
        for rank in _RANKS:
            owed = {"owed_rank": rank, "owed_at": {"$lte": now_ms}}
            first = await self._pairs.find_one(owed, {"owed_at": 1}, sort=[("owed_at", ASCENDING)])
            oldest_ms = min(oldest_ms, first["owed_at"] if first else now_ms)
        return number, now_ms - oldest_ms


def _pairs(documents: Iterable[Mapping[str, Any]]) -> OwingPairs:
    owing = OwingPairs([], [])
    for document in documents:
        try:
            owing.pairs.append(from_pair_document(document))
        except MalformedDocument as error:
            owing.malformed.append((document["_id"], error))
    return owing


def _operation(change: PairChange, owed_rank: int) -> InsertOne[dict[str, Any]] | UpdateOne:
    document = to_pair_document(change.after)
    if change.begins_encounter:
        document |= {"owed_at": change.after.encounter_ms, "owed_rank": owed_rank}
    if change.before is None:
        return InsertOne(document)
    # Only `note_notified` writes this field to a stored pair.
    del document["notified"]
    return UpdateOne({"_id": change.after.id, "revision": change.before.revision}, {"$set": document})


def _as_stored(change: PairChange, found: dict[str, PairState]) -> PairState:
    """Return the state that the collection has if the change was written: `notified` may be newer."""
    stored = found.get(change.after.id)
    notified = stored.notified_encounter if stored else change.after.notified_encounter
    fields = {name: getattr(change.after, name) for name in PairState.__struct_fields__}
    return PairState(**fields | {"notified_encounter": notified})
