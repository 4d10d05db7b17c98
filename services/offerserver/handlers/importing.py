"""ImportRunner: runs an importer from its requests to the offers in storage.

1. It holds the lease of the importer, so that no other run writes at a time.
2. It fetches the documents, and reads ids and hashes of the offers that storage has.
3. The rules grade the run and decide what it may write (`core.runs`).
4. It writes slice by slice. Before each slice it checks the lease.
5. It loads the pictures that offers lack, and gives the offers their paths. So no picture delays an offer.
6. It records the run, if it still holds the lease.

A process that is killed in between leaves offers that the next run finds by their ids, and pictures that it finds by
the digests of their URLs. So nothing is created twice.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec

from services.backbone.backoff import Backoff, retried
from services.backbone.clients import ServiceUnavailable, StorageClient
from services.backbone.logs import get_logger
from services.offerserver.core.changes import (
    SLICE,
    KnownOffer,
    OfferChanges,
    changes_digest,
    find_changes,
    has_ended,
    offers_digest,
)
from services.offerserver.core.drafts import Parsed
from services.offerserver.core.grades import RunGrade
from services.offerserver.core.importer import ImportArea, Importer
from services.offerserver.core.pictures import lacking_offers
from services.offerserver.core.reports import RunReport, differences, listed_rejections, run_counts
from services.offerserver.core.runs import JudgedRun, after_refusals, failed_run, judge
from services.offerserver.core.stale import stale_after_s
from services.offerserver.core.values import shown
from services.offerserver.core.writing import WriteStep, link_steps, write_steps
from services.offerserver.handlers.documents import RunDocuments, fetch_documents
from services.offerserver.handlers.known_offers import known_offers
from services.offerserver.handlers.pictures import PictureLoader, RunPictures, load_lacking
from services.offerserver.providers.fetching import DocumentFetcher
from services.offerserver.store.leases import LeaseLost, RunLease, RunLeases
from services.offerserver.store.runs import ImporterState, RunEnd, RunOrder, RunStore, SuspectRun

log = get_logger(__name__)

WRITE_LIMIT_S: Final = 60.0
"""A write to storage ends within the lease (`store.leases.LEASE_S`)."""
_WRITE_ATTEMPTS: Final = 5
_LONGEST_PAUSE_S: Final = 5.0


class RunRefused(Exception):
    """The run is not possible. The message is the reason."""


class RunBusy(RunRefused):
    """Another run of the importer has not ended."""


class ImportRunner:
    """Runs importers."""

    def __init__(  # noqa: PLR0913 - its parts
        self,
        store: RunStore,
        leases: RunLeases,
        storage: StorageClient,
        fetcher: DocumentFetcher,
        *,
        area: ImportArea,
        clock: Callable[[], int],
        stale_days: float = 7.0,
        slice_size: int = SLICE,
        pictures: PictureLoader | None = None,
    ) -> None:
        """Without `pictures` offers get none: no imageserver is configured."""
        self.store = store
        self.storage = storage
        self.fetcher = fetcher
        self.area = area
        self.clock = clock
        self.stale_days = stale_days
        self.slice_size = slice_size
        self.leases = leases
        self.pictures = pictures

    async def run(self, importer: Importer, order: RunOrder | None = None) -> RunReport:
        """Run an importer, or do what an operator ordered, and return the recorded report.

        Raises RunBusy while another run holds the lease; RunRefused if what is accepted is outdated; LeaseLost, after
        which nothing is written any more; ServiceUnavailable or RequestRefused of storage; RedisError. A run that
        raises can be repeated.
        """
        name = importer.source.name
        async with self.leases.hold(name) as lease:
            if lease is None:
                raise RunBusy("another run of this importer has not ended")
            if order is None:
                await self.store.begin(name, self.clock())
            one = _Run(self, importer, lease, await self.store.state(name), order)
            try:
                return await (one.accept(order) if order is not None and order.mode == "accept" else one.import_feed())
            except LeaseLost:
                await self.store.count_lost_lease(name)
                raise


class _Run:
    """One run of an importer."""

    def __init__(
        self,
        runner: ImportRunner,
        importer: Importer,
        lease: RunLease,
        state: ImporterState,
        order: RunOrder | None,
    ) -> None:
        self._runner = runner
        self._importer = importer
        self._source = importer.source
        self._lease = lease
        self._state = state
        self._order = order
        self._began_ms = runner.clock()
        self._pictures = RunPictures()

    async def import_feed(self) -> RunReport:
        """Import the documents of the source."""
        found, known = await self._fetch()
        if found.is_unchanged:
            return await self._finish(self._report(RunGrade(name="trusted"), found, is_unchanged=True))
        judged = await asyncio.to_thread(self._judge, found, known)  # so that the lease is renewed meanwhile
        if self._order is not None:
            return await self._finish(self._judged_report(judged, found, judged.changes))
        refused = await self._write(judged.changes)
        after = await self._known() if judged.changes.writes else known
        if judged.grade.may_write:
            after = await self._load_pictures(judged, after)
        judged = judged._replace(grade=after_refusals(judged, refused, self._source.thresholds))
        if judged.grade.may_remove:
            # With validators, a 304 of the next run would hide that offers were refused.
            digest = offers_digest(after, self._importer.version)
            end = RunEnd({} if refused else found.validators, judged.changes.absent, digest)
            return await self._finish(self._judged_report(judged, found, judged.changes, refused=refused), end)
        return await self._finish_suspect(judged, found, after, refused)

    def _judge(self, found: RunDocuments, known: list[KnownOffer]) -> JudgedRun:
        """Return the grade of a run, and what it may write. It runs in a thread.

        An error of a parser is a failed run, which operators see, and not the end of the job.
        """
        try:
            return judge(
                self._importer,
                found.documents,
                found.failures,
                known,
                memory=self._state.memory,
                now_ms=self._began_ms,
                is_stale=self._is_stale(),
            )
        except Exception as error:
            log.exception("parser_failed", importer=self._source.name)
            return failed_run(f"the importer cannot read this feed: {type(error).__name__}: {shown(str(error))}")

    def _is_stale(self) -> bool:
        alive_ms = self._state.alive_ms
        limit_s = stale_after_s(self._source, self._runner.stale_days)
        return alive_ms is not None and self._began_ms - alive_ms > 1000 * limit_s

    async def accept(self, order: RunOrder) -> RunReport:
        """Write exactly the difference that the operator saw, or raise RunRefused.

        The run then counts as trusted. Its number of items is the measure of later runs, as that of a first run is.
        """
        suspect = await self._runner.store.suspect(self._source.name)
        if suspect is None:
            raise RunRefused("another run has ended since, or the content is not kept any more: run the importer again")
        if suspect.digest != order.digest:
            raise RunRefused("another run has begun since: look at its difference")
        known = await self._known()
        full = self._full(suspect.parsed, suspect.grade, known, suspect.at_ms)
        if changes_digest(full, known) != order.digest:
            raise RunRefused("storage has changed since the difference was shown: run the importer again")
        refused = await self._write(full)
        after = await self._known()
        # The operator has seen no picture, so the next run loads them.
        lacking = lacking_offers(suspect.parsed.drafts, after, self._source)
        _, self._pictures = await load_lacking(
            None, lacking, self._state.pictures, now_ms=self._began_ms, is_whole=True
        )
        # No validators: those of an earlier run belong to another document.
        end = RunEnd({}, full.absent, offers_digest(after, self._importer.version), is_measure=True)
        reasons = (f"accepted by {order.by}", *suspect.grade.reasons)
        report = self._report(
            RunGrade(name="trusted", reasons=reasons),
            None,
            counts=run_counts(suspect.parsed, full, refused=refused),
            differences=differences(full),
        )
        return await self._finish(report, end)

    async def _fetch(self) -> tuple[RunDocuments, list[KnownOffer]]:
        """Return the documents and what storage has."""
        known = await self._known()
        runner = self._runner
        validators = self._state.validators if self._may_be_unchanged(known) else {}
        return await fetch_documents(self._importer, runner.fetcher, runner.area, validators), known

    def _may_be_unchanged(self, known: list[KnownOffer]) -> bool:
        """Return whether a document that has not changed would change nothing. Else it is fetched all the same.

        It would if storage has not what the last trusted run left, if the importer is another version, if an item was
        absent once or has ended, if pictures are to be tried again, or if its importer finds other items in it after
        some time, such as the events of the next days.
        """
        state, now_ms = self._state, self._began_ms
        is_due = state.parsed_ms is None or now_ms - state.parsed_ms >= 1000 * self._importer.parse_again_s
        lacks_pictures = self._runner.pictures is not None and state.pictures.is_due(now_ms)
        return not (
            is_due
            or lacks_pictures
            or state.memory.absent
            or any(has_ended(offer, now_ms) for offer in known)
            or offers_digest(known, self._importer.version) != state.offers_digest
        )

    async def _finish_suspect(
        self, judged: JudgedRun, found: RunDocuments, after: list[KnownOffer], refused: int
    ) -> RunReport:
        """Record a run that is not trusted, and keep what an operator may accept.

        A partial run can be accepted even if it lacks nothing: else a source that is always suspect is never trusted.
        """
        report = self._judged_report(judged, found, judged.changes, refused=refused)
        if not judged.grade.may_write:
            return await self._finish(report)
        pending = self._full(judged.parsed, judged.grade, after, self._began_ms)
        digest = changes_digest(pending, after)
        report = msgspec.structs.replace(
            report, digest=digest, pending=differences(pending), pending_counts=run_counts(judged.parsed, pending)
        )
        await self._finish(report)
        suspect = SuspectRun(digest, judged.parsed, judged.grade, self._began_ms)
        await self._runner.store.keep_suspect(self._source.name, suspect)
        return report

    async def _write(self, changes: OfferChanges) -> int:
        """Write slice by slice. Return the number of offers that storage refused."""
        refused = 0
        run = (self._began_ms, self._lease.number)
        for step in write_steps(changes, self._source, run=run, size=self._runner.slice_size):
            refused += await self._write_step(step)
        if refused:
            log.warning("offers_refused", importer=self._source.name, count=refused)
        return refused

    async def _load_pictures(self, judged: JudgedRun, known: list[KnownOffer]) -> list[KnownOffer]:
        """Load the pictures that offers lack, and write their paths. Return what storage has then."""
        lacking = lacking_offers(judged.parsed.drafts, known, self._source)
        links, self._pictures = await load_lacking(
            self._runner.pictures,
            lacking,
            self._state.pictures,
            now_ms=self._began_ms,
            is_whole=judged.grade.may_remove,
        )
        for step in link_steps(links, size=self._runner.slice_size):
            await self._write_step(step)
        return await self._known() if links else known

    async def _write_step(self, step: WriteStep) -> int:
        async def attempt() -> int:
            until_ms = await self._lease.check()
            try:
                async with asyncio.timeout(WRITE_LIMIT_S):
                    return await self._runner.storage.write_offers(**step._asdict(), until_ms=until_ms)
            except TimeoutError:
                raise ServiceUnavailable("no response to a slice within the time limit") from None

        return await retried(
            attempt,
            ServiceUnavailable,
            backoff=Backoff(first_s=0.5, longest_s=_LONGEST_PAUSE_S),
            attempts=_WRITE_ATTEMPTS,
            on_error=lambda error: log.warning("slice_failed", importer=self._source.name, reason=str(error)),
        )

    async def _known(self) -> list[KnownOffer]:
        return await known_offers(self._runner.storage, self._source.owner)

    def _full(self, parsed: Parsed, grade: RunGrade, known: list[KnownOffer], now_ms: int) -> OfferChanges:
        absent, exchanged = self._state.memory.absent, grade.exchanged
        return find_changes(parsed, known, self._source, absent_before=absent, now_ms=now_ms, exchanged=exchanged)

    async def _finish(self, report: RunReport, end: RunEnd | None = None) -> RunReport:
        if self._order is None or self._order.mode == "accept":
            pictures = self._pictures.memory
            await self._runner.store.finish(self._lease, report, self._state, end, pictures=pictures)
        else:
            await self._runner.store.keep_dry_run(self._source.name, report)
        log.info("run_ended", importer=self._source.name, number=report.number, grade=report.grade)
        return report

    def _judged_report(
        self, judged: JudgedRun, found: RunDocuments, changes: OfferChanges, *, refused: int = 0
    ) -> RunReport:
        rejections, remarks = listed_rejections(judged.parsed)
        return self._report(
            judged.grade,
            found,
            counts=run_counts(judged.parsed, changes, refused=refused),
            rejections=rejections,
            remarks=(*remarks, *self._pictures.remarks),
            differences=differences(changes),
        )

    def _report(self, grade: RunGrade, found: RunDocuments | None, **more: Any) -> RunReport:
        return RunReport(
            number=self._lease.number,
            began_ms=self._began_ms,
            ended_ms=self._runner.clock(),
            mode="run" if self._order is None else self._order.mode,
            by="" if self._order is None else self._order.by,
            grade=grade.name,
            reasons=grade.reasons,
            pictures=self._pictures.counts,
            exchanges=() if found is None else tuple(found.exchanges),
            **more,
        )
