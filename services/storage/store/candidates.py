"""CandidateFinder: the objects that an object may match, by one find for each disc of its radius.

The finds are separate and not one `$or`: each has one index range for each keyword, and its plan never changes.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from typing import Any, Final, NamedTuple

from pymongo.asynchronous.cursor import AsyncCursor

from services.storage.core.documents import SIDE_PROJECTION, to_sides
from services.storage.core.matching import MatchSide, SubjectKind
from services.storage.core.radii import QUERY_MARGIN_M, Disc, discs
from services.storage.core.sphere import EARTH_RADIUS_M
from services.storage.store.database import MATCH_INDEX, Database, objects_of, other_kind
from services.storage.store.due import DueObjects

SLICE: Final = 500
"""The most candidates of a slice."""
_CONCURRENT_FINDS: Final = 4
"""The number of finds that run at the same time. Their candidates are yielded in the order of the discs."""
_BATCH: Final = 250
"""The candidates of a response of MongoDB. Smaller than a slice: the first matches are there sooner."""


class CandidateSlice(NamedTuple):
    """Some candidates."""

    disc: int
    """All candidates of the discs before this one are in this slice or before it. A later run may begin here."""
    sides: list[MatchSide]


class CandidateFinder:
    """Finds candidates. All methods raise PyMongoError while the database is not available."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._due = DueObjects(database)

    def query(self, subject: MatchSide, disc: Disc, now_ms: int) -> dict[str, Any]:
        """Return the filter of the find of one disc.

        The index has the keys, the class, the location and the state. The other conditions only reduce what is sent.
        """
        angle = (disc.radius_m + QUERY_MARGIN_M) / EARTH_RADIUS_M
        return {
            "isActive": True,
            "keys": {"$in": list(subject.keys)},
            "class": disc.classes[0] if len(disc.classes) == 1 else {"$in": list(disc.classes)},
            "location": {"$geoWithin": {"$centerSphere": [list(subject.location), angle]}},
            "owner": {"$ne": subject.owner},
            # A missing field passes $not: without a border an object is always valid.
            "validfrom": {"$not": {"$gt": now_ms}},
            "validuntil": {"$not": {"$lte": now_ms}},
        }

    async def find(
        self, kind: SubjectKind, subject: MatchSide, now_ms: int, *, first_disc: int = 0
    ) -> AsyncGenerator[CandidateSlice, None]:
        """Yield the candidates of a subject of this kind, in slices of at most 500, larger radius classes first.

        Each object is yielded at most once. Close the iterator to close the cursors (`contextlib.aclosing`).
        """
        wanted = discs(subject.radius_m) if subject.keys else []
        unbegun = deque(range(first_disc, len(wanted)))
        finds: deque[_Find] = deque()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(_close, finds)
            sides: list[MatchSide] = []
            while finds or unbegun:
                while unbegun and len(finds) < _CONCURRENT_FINDS:
                    disc = unbegun.popleft()
                    finds.append(_Find(disc, self._cursor(kind, subject, wanted[disc], now_ms)))
                find = finds[0]
                documents = await find.batch
                if find.cursor.alive:
                    find.read()  # while the caller decides this batch
                else:
                    finds.popleft()
                found, malformed = to_sides(documents)
                if malformed:
                    await self._due.mark_malformed(other_kind(kind), malformed, now_ms=now_ms)
                sides += found
                # A slice of a later disc must not leave candidates of this disc behind: a fan-out resumes by the disc.
                while len(sides) >= SLICE:
                    yield CandidateSlice(find.disc, sides[:SLICE])
                    sides = sides[SLICE:]
            if sides:
                yield CandidateSlice(len(wanted) - 1, sides)

    def _cursor(self, kind: SubjectKind, subject: MatchSide, disc: Disc, now_ms: int) -> AsyncCursor[dict[str, Any]]:
        return objects_of(self._database, other_kind(kind)).find(
            self.query(subject, disc, now_ms),
            SIDE_PROJECTION,
            batch_size=_BATCH,
            hint=MATCH_INDEX,
        )


class _Find:
    """The find of a disc, with the batch that is read now."""

    def __init__(self, disc: int, cursor: AsyncCursor[dict[str, Any]]) -> None:
        self.disc = disc
        self.cursor = cursor
        self.read()

    def read(self) -> None:
        self.batch = asyncio.create_task(self.cursor.to_list(_BATCH))


async def _close(finds: Iterable[_Find]) -> None:
    for find in finds:
        find.batch.cancel()
        await asyncio.gather(find.batch, return_exceptions=True)  # an error of a find that nobody waits for
        await find.cursor.close()
