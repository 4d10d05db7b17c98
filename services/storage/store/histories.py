"""PairHistories: pairs with the reports of their encounters, and the sending by hand, for operators."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from pymongo import DESCENDING

from services.storage.core.document_forms import StoredDocument
from services.storage.core.documents import from_pair_document
from services.storage.core.matching import SubjectKind
from services.storage.core.objects import RANK_SINGLE
from services.storage.core.pairs import EncounterReport, PairState, pair_id
from services.storage.store.database import PAIRS, Database
from services.storage.store.objects import ObjectConflict
from services.storage.store.pairs import PairChange, PairStore

MAX_PAIRS: Final = 10_000
"""The most pairs of an object that are counted and sorted."""
_TIMEOUT_MS: Final = 5_000
_MAX_ATTEMPTS: Final = 16


class PairHistory(NamedTuple):
    """A pair, with what is known of its encounters."""

    pair: PairState
    reports: tuple[EncounterReport, ...]
    """The newest reports, oldest first."""


class PairHistories:
    """Pairs for operators. All methods raise PyMongoError while the database is not available."""

    def __init__(self, database: Database) -> None:
        self._documents = database[PAIRS]
        self._pairs = PairStore(database)

    async def get(self, search_id: str, offer_id: str) -> PairHistory | None:
        """Return the pair, or None if it has never matched."""
        document = await self._documents.find_one({"_id": pair_id(search_id, offer_id)})
        return None if document is None else _history(document)

    async def matching(self, kind: SubjectKind, object_id: str, *, limit: int) -> tuple[list[PairState], int]:
        """Return some pairs of an object that are in, and the number of all, or MAX_PAIRS if there are more.

        They are the newest ones, the newest first. Of MAX_PAIRS or more they are any: sorting would read each of them.
        """
        wanted = {kind: object_id, "in": True}
        number = await self._documents.count_documents(wanted, limit=MAX_PAIRS, maxTimeMS=_TIMEOUT_MS)
        found = self._documents.find(wanted, max_time_ms=_TIMEOUT_MS).limit(limit)
        if number < MAX_PAIRS:
            found = found.sort("since", DESCENDING)
        return [from_pair_document(document) for document in await found.to_list()], number

    async def change(self, search_id: str, offer_id: str, change: Callable[[PairState | None], PairState]) -> PairState:
        """Write the result of `change`, which begins an encounter. It is called again if another writer was first.

        Raises ObjectConflict after 16 attempts.
        """
        name = pair_id(search_id, offer_id)
        for _ in range(_MAX_ATTEMPTS):
            before = (await self._pairs.get([name])).get(name)
            after = change(before)
            if not await self._pairs.write([PairChange(before, after)], owed_rank=RANK_SINGLE):
                return after
        raise ObjectConflict(f"pair {name}: {_MAX_ATTEMPTS} attempts met other writers")


def _history(document: StoredDocument) -> PairHistory:
    reports: list[Any] = document.get("reports", [])
    return PairHistory(from_pair_document(document), tuple(EncounterReport(*report) for report in reports))
