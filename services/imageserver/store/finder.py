"""AssetFinder: lookups of assets by id or key. Lookups that wait at the same time share a query.

A query costs more than all the rest of a small read. Each lookup is in a query that starts after it, so it sees all
that was published before it.
"""

import asyncio
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from services.backbone.mongo import Documents

_MOST_QUERIES: Final = 2
"""Queries at once. More of them would have fewer lookups each."""
_MOST_KEYS: Final = 50
"""Keys of a query. Each can match two assets, and the first reply of MongoDB has at most 101 documents."""

_Document = Mapping[str, Any]


class AssetFinder:
    """Finds documents of assets."""

    def __init__(self, assets: Documents) -> None:
        self._assets = assets
        self._waiting: dict[str, list[asyncio.Future[_Document | None]]] = {}
        """The lookups that are in no query yet, by their key."""
        self._running = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def find(self, key: str) -> _Document | None:
        """Return the document of an id or a key. An id comes first. Raises PyMongoError."""
        found: asyncio.Future[_Document | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(found)
        if self._running < _MOST_QUERIES:
            self._running += 1
            task = asyncio.create_task(self._run_queries())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await found

    async def _run_queries(self) -> None:
        try:
            await self._query_waiting()
        finally:
            # In the step that found nothing waiting: a lookup after it must start a task, as nobody else takes it.
            self._running -= 1

    async def _query_waiting(self) -> None:
        while self._waiting:
            keys = list(islice(self._waiting, _MOST_KEYS))
            lookups = [(key, self._waiting.pop(key)) for key in keys]
            try:
                documents = await self._query(keys)
            except Exception as error:  # noqa: BLE001 - the callers raise it
                for found in (each for _, waiting in lookups for each in waiting if not each.done()):
                    found.set_exception(error)
                continue
            for key, waiting in lookups:
                for found in waiting:
                    if not found.done():  # a caller may be cancelled
                        found.set_result(documents.get(key))

    async def _query(self, keys: list[str]) -> dict[str, _Document]:
        found = await self._assets.find({"$or": [{"_id": {"$in": keys}}, {"keys": {"$in": keys}}]}).to_list()
        by_key: dict[str, _Document] = {key: document for document in found for key in document.get("keys", ())}
        return by_key | {document["_id"]: document for document in found}
