"""CandidateFinder: the objects that an object may match, by one find for each disc of its radius.

The finds are separate and not one `$or`: each has one index range for each keyword, and its plan never changes.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Mapping
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
"""MongoDB runs each find on one core. The batches of one find are decided while others are read."""
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
        reads: dict[_Read, _Find] = {}
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(_close, reads)
            sides: list[MatchSide] = []
            oldest = len(wanted)  # the first disc with candidates in `sides`
            while reads or unbegun:
                while unbegun and len(reads) < _CONCURRENT_FINDS:
                    disc = unbegun.popleft()
                    find = _Find(disc, self._cursor(kind, subject, wanted[disc], now_ms))
                    reads[find.read()] = find
                done, _ = await asyncio.wait(reads, return_when=asyncio.FIRST_COMPLETED)
                for read in done:
                    find = reads.pop(read)
                    documents = read.result()
                    if find.cursor.alive:
                        reads[find.read()] = find
                    found, malformed = to_sides(documents)
                    if malformed:
                        await self._due.mark_malformed(other_kind(kind), malformed, now_ms=now_ms)
                    sides += found
                    oldest = min(oldest, find.disc)
                    if len(sides) >= SLICE:
                        # What remains is from this batch, because a batch is smaller than a slice.
                        oldest = find.disc
                        discs_left = (find.disc, *(each.disc for each in reads.values()), *unbegun)
                        yield CandidateSlice(min(discs_left), sides[:SLICE])
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


_Read = asyncio.Task[list[dict[str, Any]]]


class _Find(NamedTuple):
    disc: int
    cursor: AsyncCursor[dict[str, Any]]

    def read(self) -> _Read:
        """Begin to read the next batch."""
        return asyncio.create_task(self.cursor.to_list(_BATCH))


async def _close(reads: Mapping[_Read, _Find]) -> None:
    for read, find in reads.items():
        read.cancel()
        await asyncio.gather(read, return_exceptions=True)  # an error of a find that nobody waits for
        await find.cursor.close()
