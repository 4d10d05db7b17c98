"""ListStore: lists of offers or searches by a filter, with a hard limit and a cursor."""

from collections.abc import AsyncGenerator
from typing import Any, Final, Literal, NamedTuple

from pymongo import ASCENDING, DESCENDING, GEOSPHERE, IndexModel

from services.storage.core.cursors import Cursor, encode_cursor
from services.storage.core.documents import from_documents
from services.storage.core.filters import ListFilter, Page
from services.storage.core.matching import SubjectKind
from services.storage.core.objects import StoredObject
from services.storage.store.database import COLLECTIONS, Database, objects_of
from services.storage.store.list_query import Query, has_index, list_query, ranked_stages

MAX_SUBSTRING_OBJECTS: Final = 10_000
"""The most objects of a region that are searched for a keyword anywhere in a key. Each of them is read."""
MAX_COUNT: Final = 100_000
_TIMEOUT_MS: Final = 10_000
_ID_INDEX: Final = "_id_"
_STREAM_BATCH: Final = 200

KeywordSearch = Literal["substring", "prefix"]


class ListPage(NamedTuple):
    """A part of a list."""

    objects: list[StoredObject]
    next: str | None
    """The cursor of the next part; None: this is the last part."""
    keyword_search: KeywordSearch | None
    """How the keywords were searched in keys; None: no keyword was asked."""


async def create_list_indexes(database: Database) -> None:
    """Create the indexes of lists. Raises PyMongoError.

    Each object is in one of the two indexes of locations: in the one of the location that others see.
    """
    for name in COLLECTIONS.values():
        await database[name].create_indexes(
            [
                IndexModel([("location", GEOSPHERE)], name="shown", partialFilterExpression={"showLocation": True}),
                IndexModel(
                    [("public_location", GEOSPHERE)], name="hidden", partialFilterExpression={"showLocation": False}
                ),
                IndexModel([("keys", ASCENDING)], name="keys"),
                IndexModel([("words", ASCENDING)], name="words"),
            ]
        )


class ListStore:
    """Lists of objects. All methods raise PyMongoError while the database is not available or takes over 10 s."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, kind: SubjectKind, wanted: ListFilter, page: Page, *, now_ms: int, sees_true: bool = False
    ) -> ListPage:
        """Return a part of a list.

        The order: rank descending, joined keywords descending, id descending. A list of all objects, without an owner,
        region or keyword, is in the order of ids, newest first: its first two sort values would need a scan.
        """
        substring = await self._may_search_substrings(kind, wanted, now_ms, sees_true=sees_true)
        query = list_query(wanted, now_ms, sees_true=sees_true, substring=substring)
        documents = await self._find(kind, wanted, query, page)
        more = len(documents) > page.limit
        documents = documents[: page.limit]
        following = encode_cursor(_cursor(documents[-1])) if more else None
        search: KeywordSearch | None = None
        if wanted.keys:
            search = "substring" if substring else "prefix"
        return ListPage(from_documents(kind, documents), following, search)

    async def count(
        self, kind: SubjectKind, wanted: ListFilter, *, now_ms: int, sees_true: bool = False, most: int = MAX_COUNT
    ) -> int:
        """Return the number of objects that all parts of a list have, or `most` if there are more.

        Each object is read, which takes about 10 ms for 1,000 objects.
        """
        substring = await self._may_search_substrings(kind, wanted, now_ms, sees_true=sees_true)
        query = list_query(wanted, now_ms, sees_true=sees_true, substring=substring)
        return await objects_of(self._database, kind).count_documents(
            query, limit=most, maxTimeMS=_TIMEOUT_MS, **_hint(wanted)
        )

    async def stream(
        self, kind: SubjectKind, wanted: ListFilter, *, now_ms: int, sees_true: bool
    ) -> AsyncGenerator[StoredObject, None]:
        """Yield all objects of a list in the order of their ids. The memory does not depend on their number."""
        query = list_query(wanted, now_ms, sees_true=sees_true)
        cursor = objects_of(self._database, kind).find(query, sort=[("_id", ASCENDING)], batch_size=_STREAM_BATCH)
        async with cursor:
            async for document in cursor:
                for stored in from_documents(kind, [document]):
                    yield stored

    async def _may_search_substrings(
        self, kind: SubjectKind, wanted: ListFilter, now_ms: int, *, sees_true: bool
    ) -> bool:
        if not wanted.keys or wanted.region is None:
            return False
        # Without the other conditions, so that the limit bounds the objects that are read.
        region = list_query(ListFilter(region=wanted.region, only_valid=False), now_ms, sees_true=sees_true)
        number = await objects_of(self._database, kind).count_documents(
            region, limit=MAX_SUBSTRING_OBJECTS + 1, maxTimeMS=_TIMEOUT_MS
        )
        return number <= MAX_SUBSTRING_OBJECTS

    async def _find(self, kind: SubjectKind, wanted: ListFilter, query: Query, page: Page) -> list[dict[str, Any]]:
        collection = objects_of(self._database, kind)
        skipped = page.number * page.limit
        if not _is_ranked(wanted):
            if page.cursor is not None:
                query = {"$and": [query, {"_id": {"$lt": page.cursor.object_id}}]}
            found = collection.find(
                query, sort=[("_id", DESCENDING)], skip=skipped, limit=page.limit + 1, max_time_ms=_TIMEOUT_MS
            )
            return await found.to_list()
        after = [] if page.cursor is None else [{"$match": _after(page.cursor)}]
        ranked = await collection.aggregate(
            [
                {"$match": query},
                *ranked_stages(wanted.keys),
                *after,
                {"$sort": {"_rank": DESCENDING, "_joined": DESCENDING, "_id": DESCENDING}},
                *([{"$skip": skipped}] if skipped else []),
                {"$limit": page.limit + 1},
            ],
            maxTimeMS=_TIMEOUT_MS,
            **_hint(wanted),
        )
        return await ranked.to_list()


def _hint(wanted: ListFilter) -> dict[str, Any]:
    return {} if has_index(wanted) else {"hint": _ID_INDEX}


def _is_ranked(wanted: ListFilter) -> bool:
    return bool(wanted.keys or wanted.region or wanted.owner is not None or wanted.object_id is not None)


def _cursor(document: dict[str, Any]) -> Cursor:
    return Cursor(document.get("_rank", 0), document.get("_joined", ""), document["_id"])


def _after(cursor: Cursor) -> Query:
    rank, joined, object_id = cursor
    return {
        "$or": [
            {"_rank": {"$lt": rank}},
            {"_rank": rank, "_joined": {"$lt": joined}},
            {"_rank": rank, "_joined": joined, "_id": {"$lt": object_id}},
        ]
    }
