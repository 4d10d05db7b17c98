"""CandidateFinder: the objects that an object may match, by one find for each disc of its radius.

The finds are separate and not one `$or`: each has one index range for each keyword, and its plan never changes.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any, Final, NamedTuple

from pymongo.asynchronous.cursor import AsyncCursor

from services.storage.core.documents import SIDE_PROJECTION, to_side
from services.storage.core.matching import MatchSide, SubjectKind
from services.storage.core.radii import QUERY_MARGIN_M, Disc, discs
from services.storage.core.sphere import EARTH_RADIUS_M
from services.storage.store.database import MATCH_INDEX, Database, objects_of, other_kind

SLICE: Final = 500
"""The most candidates of a slice."""
_FINDS_AHEAD: Final = 2
"""The number of finds that run while the results of an earlier one are read."""


class CandidateSlice(NamedTuple):
    """Some candidates."""

    disc: int
    """The index of the disc of the last candidate. A later run may begin with this disc."""
    sides: list[MatchSide]


class CandidateFinder:
    """Finds candidates. All methods raise PyMongoError while the database is not available."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
        ahead: list[tuple[AsyncCursor[dict[str, Any]], asyncio.Task[list[dict[str, Any]]]]] = []
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(_close, ahead)
            full: list[MatchSide] = []
            begun = first_disc
            for number in range(first_disc, len(wanted)):
                while begun < min(number + 1 + _FINDS_AHEAD, len(wanted)):
                    cursor = self._cursor(kind, subject, wanted[begun], now_ms)
                    ahead.append((cursor, asyncio.create_task(cursor.to_list(SLICE))))
                    begun += 1
                cursor, first = ahead[0]
                documents = await first
                while documents:
                    full += map(to_side, documents)
                    documents = await cursor.to_list(SLICE) if cursor.alive else []
                    while len(full) >= SLICE:
                        yield CandidateSlice(number, full[:SLICE])
                        full = full[SLICE:]
                ahead.pop(0)
            if full:
                yield CandidateSlice(len(wanted) - 1, full)

    def _cursor(self, kind: SubjectKind, subject: MatchSide, disc: Disc, now_ms: int) -> AsyncCursor[dict[str, Any]]:
        return objects_of(self._database, other_kind(kind)).find(
            self.query(subject, disc, now_ms),
            SIDE_PROJECTION,
            batch_size=SLICE,
            hint=MATCH_INDEX,
        )


async def _close(ahead: list[tuple[AsyncCursor[dict[str, Any]], asyncio.Task[list[dict[str, Any]]]]]) -> None:
    for cursor, first in ahead:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)  # an error of a find that nobody waits for
        await cursor.close()
