"""Matcher: the loops of a process that claim due objects.

Each process has some slots. The first slot takes single changes only, and one slice of each: a change with more
candidates continues in another slot, with the rank of a fan-out. So an import or a large fan-out delays no single
change. The other slots take single changes first, then fan-outs, then imports, each to its end. An object whose
matching fails is tried again behind all others.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from typing import Final

from pymongo.errors import ConnectionFailure, PyMongoError

from services.backbone.backoff import Backoff
from services.backbone.clock import clock_ms
from services.backbone.health import Heartbeat
from services.backbone.logs import get_logger
from services.storage.core.document_forms import MalformedDocument
from services.storage.core.matching import SubjectKind
from services.storage.core.objects import RANK_FAILING, RANK_SINGLE, RANKS
from services.storage.metrics import Metrics
from services.storage.settings import MatcherSettings
from services.storage.store import (
    ClaimedObject,
    Database,
    DueObjects,
    ObjectStore,
    PairStore,
)
from services.storage.worker.failures import FirstFailures
from services.storage.worker.matching import Matching, MatchingEnd
from services.storage.worker.pair_writer import PairWriter

log = get_logger(__name__)

_SINGLE_QUANTUM: Final = 1
_KINDS: Final[tuple[SubjectKind, ...]] = ("search", "offer")
_HEARTBEAT_SLACK_S: Final = 30.0


class Matcher:
    """Claims due objects and matches them."""

    def __init__(  # noqa: PLR0913 - the settings, and what tests replace
        self,
        database: Database,
        settings: MatcherSettings,
        metrics: Metrics,
        *,
        on_encounters: Callable[[], None] = lambda: None,
        now_ms: Callable[[], int] = clock_ms,
        at_point: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`on_encounters` is called when encounters are owed. Tests stop the process in `at_point`."""
        self.heartbeat = Heartbeat(limit_s=settings.match_poll_s + settings.match_lease_s + _HEARTBEAT_SLACK_S)
        self.stopping = False
        """Set before `run` is cancelled: the MongoDB client can swallow a cancellation."""
        self._settings = settings
        self._metrics = metrics
        self._now_ms = now_ms
        self._due = DueObjects(database)
        self._failures = FirstFailures("object_fails")
        self._lease_ms = round(1000 * settings.match_lease_s)
        writer = PairWriter(
            ObjectStore(database),
            PairStore(database),
            metrics,
            now_ms=now_ms,
            on_encounters=on_encounters,
            at_point=at_point,
            leave_s=settings.leave_s,
        )
        self._matching = Matching(
            database,
            writer,
            metrics,
            now_ms=now_ms,
            lease_ms=self._lease_ms,
            at_point=at_point,
        )

    async def run(self) -> None:
        """Match due objects until stopped or cancelled. While the database is not available, it is tried again."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._run_slot(ranks=(RANK_SINGLE,), quantum=_SINGLE_QUANTUM))
            for _ in range(self._settings.match_slots - 1):
                tasks.create_task(self._run_slot(ranks=(*RANKS, RANK_FAILING), quantum=None))

    async def match_now(self, kind: SubjectKind, object_id: str) -> MatchingEnd | None:
        """Match the first slice of an object without waiting for the grace. Return how it ended.

        None: the object is unknown, its matching fails, or another process has claimed it; its mark stays. Raises
        PyMongoError.
        """
        try:
            claimed = await self._due.claim_one(
                kind, object_id, now_ms=self._now_ms(), lease_ms=self._lease_ms, token=_token()
            )
        except MalformedDocument as error:
            self._failures.report(object_id, error)
            return None
        return None if claimed is None else await self._match(claimed, _SINGLE_QUANTUM)

    async def match_due(self, ranks: tuple[int, ...] = RANKS, *, quantum: int | None = None) -> bool:
        """Match one due object, the lowest rank first. Return whether there was one. Raises PyMongoError."""
        for rank in ranks:
            for kind in _KINDS:
                try:
                    claimed = await self._claim(kind, rank)
                except MalformedDocument as error:
                    self._failures.report(str(error).partition(":")[0], error)
                    return True
                if claimed is not None:
                    await self._match(claimed, quantum)
                    return True
        return False

    async def _match(self, claimed: ClaimedObject, quantum: int | None) -> MatchingEnd | None:
        """Match an object. Return None if it fails: it is then postponed. Raises ConnectionFailure."""
        ended = asyncio.Event()
        keeping = asyncio.create_task(self._keep_lease(claimed, ended))
        try:
            return await self._matching.match(claimed, quantum=quantum)
        except ConnectionFailure:
            raise
        except Exception as error:  # noqa: BLE001 - an error of one object, of any kind, must not stop the others
            self._failures.report(claimed.stored.id, error)
            await self._due.postpone(claimed, now_ms=self._now_ms())
            return None
        finally:
            ended.set()
            keeping.cancel()

    async def _keep_lease(self, claimed: ClaimedObject, ended: asyncio.Event) -> None:
        """Extend the lease until `ended` is set.

        On a busy machine a slice can take longer than a lease. Processes would then take the object from each other,
        and none would ever finish it.
        """
        while not ended.is_set():
            await asyncio.sleep(self._settings.match_lease_s / 3.0)
            with contextlib.suppress(PyMongoError):  # the matching itself reports it
                await self._due.extend(claimed, now_ms=self._now_ms(), lease_ms=self._lease_ms)

    async def _claim(self, kind: SubjectKind, rank: int) -> ClaimedObject | None:
        now_ms = self._now_ms()
        due_by_ms = now_ms - round(1000 * self._settings.match_grace_s)
        return await self._due.claim(
            kind, rank, due_by_ms=due_by_ms, now_ms=now_ms, lease_ms=self._lease_ms, token=_token()
        )

    async def _run_slot(self, *, ranks: tuple[int, ...], quantum: int | None) -> None:
        backoff = Backoff(longest_s=2.0)
        while not self.stopping:
            self.heartbeat.beat()
            try:
                found = await self.match_due(ranks, quantum=quantum)
            except PyMongoError as error:
                # The claim ends by itself, and the mark stays.
                if not backoff.failures:
                    log.warning("matching_failed", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(backoff.next_s())
                continue
            backoff.reset()
            if not found:
                await asyncio.sleep(self._settings.match_poll_s)

    async def refresh_metrics(self) -> None:
        """Set the metrics of the due objects. Raises PyMongoError."""
        number, age_ms = await self._due.waiting(now_ms=self._now_ms())
        self._metrics.due.set(number)
        self._metrics.oldest_due.set(age_ms / 1000.0)
        self._metrics.failing.labels("objects").set(await self._due.failing())


def _token() -> str:
    return uuid.uuid4().hex
