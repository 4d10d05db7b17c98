"""The tasks offers.*: look at importers, try a source, run one, and delete the offers of an owner."""

import asyncio
import contextlib
import difflib
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.errors import OperatorError
from deploy.interrupts import run_interruptible
from deploy.operate.dead_letters import readable_time
from deploy.operate.source_trial import counted, print_exchange, print_parsed
from deploy.operate.variables import read
from services.backbone.clients import RequestRefused, ServiceUnavailable
from services.backbone.outgoing import OutgoingClient
from services.offerserver.core.changes import slices
from services.offerserver.core.drafts import UnreadableFeed
from services.offerserver.core.importer import ImportArea, Importer
from services.offerserver.core.reports import RunReport
from services.offerserver.core.runs import parse_documents
from services.offerserver.handlers.clients import open_runner
from services.offerserver.handlers.documents import RunDocuments, fetch_documents
from services.offerserver.handlers.importing import RunBusy, RunRefused
from services.offerserver.handlers.jobs import sentence
from services.offerserver.handlers.known_offers import known_offers
from services.offerserver.importers.catalog import source_alone
from services.offerserver.importers.configured import InvalidSource
from services.offerserver.importers.directory import ignored_files, importers_of, source_text
from services.offerserver.providers.fetching import FeedFetcher, FetchLimits
from services.offerserver.providers.local_files import FileFetcher
from services.offerserver.settings import Settings
from services.offerserver.store.leases import LeaseLost
from services.offerserver.store.runs import RunOrder

_SHOWN: Final = 10
LOCAL_HINT: Final = ": sources must have public addresses. To try a local document, use --file"
_Result = TypeVar("_Result")
_FAILURES: Final = (ServiceUnavailable, RequestRefused, RedisError, RunRefused, LeaseLost)


def show(environ: Mapping[str, str]) -> int:
    """Print the importers with their last run. Return the exit code. Raises OperatorError."""
    settings = read(Settings, environ)
    importers = _importers(settings)
    reports = run_interruptible(_reports(settings, importers))
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("importer", "owner", "schedule (UTC)", "last run", "grade", "items"):
        table.add_column(title)
    for name, importer in importers.items():
        report = reports[name]
        last = ("none", "", "") if report is None else (readable_time(report[0]), report[1], report[2])
        table.add_row(name, Text(importer.source.owner), importer.source.schedule, *last)
    console = Console(highlight=False)
    console.print(table)
    if ignored := ignored_files(settings.sources):
        console.print(Text(f"Not read, because they do not end in .yaml or .yml: {', '.join(ignored)}"))
    return 0


def check(environ: Mapping[str, str], file: Path, *, fixture: Path | None) -> int:
    """Fetch a source once, and print ten drafts and the rejections. It needs neither Redis nor storage.

    Return 1 if the document can't be used or is incomplete. Raises OperatorError.
    """
    settings = read(Settings, environ)
    try:
        importer = source_alone(file.name, source_text(file))
    except InvalidSource as error:
        raise OperatorError(str(error)) from None
    if fixture is None and not settings.contact:
        raise OperatorError("OFFERS_CONTACT is not set: a URL or an e-mail address for the operators of sources")
    size = 0 if fixture is None else _size_of(fixture)
    console = Console(highlight=False)
    console.print(
        f"fetching {importer.source.name} ..." if fixture is None else f"read from {fixture}, {counted(size, 'byte')}"
    )
    found = run_interruptible(_documents(settings, importer, fixture))
    for exchange in found.exchanges:
        if fixture is None:
            print_exchange(console, exchange)
    try:
        parsed = parse_documents(importer, found.documents, found.failures, now_ms=_now_ms())
    except UnreadableFeed as error:
        hint = LOCAL_HINT if " is loopback" in str(error) else ""
        raise OperatorError(f"failed: {error}{hint}") from None
    print_parsed(console, parsed, importer.source)
    return 1 if parsed.partial or not parsed.drafts else 0


def run(environ: Mapping[str, str], name: str, *, dry_run: bool, fixture: Path | None, yes: bool = False) -> int:
    """Run an importer, and print what it did. Return 1 unless it is trusted. Raises OperatorError.

    With a `fixture` it does a dry run first, and asks before it writes, unless `yes`.
    """
    settings = read(Settings, environ)
    importer = _importer(settings, name)
    if fixture is not None:
        _size_of(fixture)  # before Redis and storage are asked
    if fixture is None and not settings.contact:
        raise OperatorError("OFFERS_CONTACT is not set: a URL or an e-mail address for the operators of sources")
    if fixture is not None and not (dry_run or yes or sys.stdin.isatty()):
        raise OperatorError("this writes what the file has: look at it with --dry-run, then confirm with --yes")
    console = Console(highlight=False)
    console.print(f"running {name} ...")

    async def work(*, is_dry: bool) -> int:
        async with open_runner(settings) as runner:
            if fixture is not None:
                runner.fetcher = FileFetcher(fixture)
            order = RunOrder("dry run", "operator") if is_dry else None
            report = await runner.run(importer, order)
        _print_report(console, report, is_dry=is_dry)
        return 0 if report.grade == "trusted" else 1

    if fixture is not None and not (dry_run or yes):
        run_or_refuse(work(is_dry=True), settings)
        console.print(
            f"This file takes the place of the source: the offers of {importer.source.owner} become those of the file. "
            "An offer that it lacks is absent, and is removed when the next trusted run lacks it too."
        )
        if input(f"Write this as a run of {name}? [y/N] ").lower() != "y":
            raise OperatorError("cancelled: nothing was written")
    return run_or_refuse(work(is_dry=dry_run), settings)


def delete_all(environ: Mapping[str, str], owner: str, *, dry_run: bool, yes: bool) -> int:
    """Show how many offers an owner has, ask, and delete them. Return the exit code. Raises OperatorError.

    It holds the lease of the importer of the owner while it deletes, so no run writes meanwhile. It deletes what the
    owner has then.
    """
    if not owner:
        raise OperatorError("--owner is missing: offers.delete-all --owner OWNER")
    if not (dry_run or yes or sys.stdin.isatty()):
        raise OperatorError("this deletes offers: look at it with --dry-run, then confirm with --yes")
    settings = read(Settings, environ)
    importers = [name for name, importer in _importers(settings).items() if importer.source.owner == owner]
    console = Console(highlight=False)

    async def count() -> int:
        async with open_runner(settings) as runner:
            return len(await known_offers(runner.storage, owner))

    found = run_or_refuse(count(), settings)
    console.print(f"{owner} has {found:,} offers")
    if dry_run or not found:
        return 0
    if not yes and input(f"Delete {found:,} offers of {owner}? [y/N] ").lower() != "y":
        raise OperatorError("cancelled: nothing was deleted")
    deleted = run_or_refuse(_delete(settings, owner, importers[0] if importers else None), settings)
    hint = " The next run of their importer creates them again." if importers else ""
    console.print(f"deleted {deleted:,} offers.{hint}")
    return 0


async def _delete(settings: Settings, owner: str, importer: str | None) -> int:
    """Delete the offers of an owner. Return their number. Without an importer there is no run to keep away.

    Raises RunBusy, LeaseLost, and what requests raise.
    """
    async with open_runner(settings) as runner, contextlib.AsyncExitStack() as held:
        lease = None if importer is None else await held.enter_async_context(runner.leases.hold(importer))
        if lease is None and importer is not None:
            raise RunBusy(f"a run of {importer} has not ended: nothing was deleted")
        ids = [offer.offer_id for offer in await known_offers(runner.storage, owner)]
        for part in slices(ids):
            until_ms = None if lease is None else await lease.check()
            await runner.storage.write_offers(removed=part, event="none", until_ms=until_ms)
        return len(ids)


class _OwnTurns:
    """Turns without Redis: this task is one process."""

    @contextlib.asynccontextmanager
    async def turn(self, origin: str, *, delay_s: float) -> AsyncIterator[None]:
        del origin
        yield
        await asyncio.sleep(delay_s)


async def _documents(settings: Settings, importer: Importer, fixture: Path | None) -> RunDocuments:
    area = ImportArea(*settings.area)
    if fixture is not None:
        return await fetch_documents(importer, FileFetcher(fixture), area, {})
    async with OutgoingClient(timeout_s=settings.request_s, allowed=settings.allowed_networks) as client:
        limits = FetchLimits(settings.max_body_bytes)
        fetcher = FeedFetcher(
            client,
            _OwnTurns(),
            user_agent=settings.user_agent,
            limits=limits,
            stand_in_url=settings.stand_in_url,
        )
        return await fetch_documents(importer, fetcher, area, {})


def _size_of(file: Path) -> int:
    """Return the bytes of a document. Raises OperatorError."""
    if not file.is_file():
        raise OperatorError(f"{file} is no file")
    return file.stat().st_size


def _print_report(console: Console, report: RunReport, *, is_dry: bool) -> None:
    console.print(sentence(report))
    for line in report.differences[:_SHOWN] if is_dry else ():
        console.print(Text(f"{line.kind:8} {line.id}  {line.text}"))
    for row in report.rejections[:_SHOWN]:
        console.print(Text(f"rejected {row.id}  {row.field} {row.value!r} {row.reason}"))
    for row in report.remarks[:_SHOWN]:
        console.print(Text(f"remark {row.id}  {row.field} {row.value!r} {row.reason}"))


def _importers(settings: Settings) -> dict[str, Importer]:
    try:
        return importers_of(settings.sources)
    except InvalidSource as error:
        raise OperatorError(f"OFFERS_SOURCES:\n{error}") from None


def _importer(settings: Settings, name: str) -> Importer:
    importers = _importers(settings)
    importer = importers.get(name)
    if importer is None:
        similar = difflib.get_close_matches(name, importers, n=1)
        guess = f" Did you mean {similar[0]}?" if similar else ""
        raise OperatorError(f"{name or 'the name'}: there is no such importer.{guess} offers.list shows them.")
    return importer


async def _reports(settings: Settings, importers: Mapping[str, Importer]) -> dict[str, tuple[int, str, str] | None]:
    found: dict[str, tuple[int, str, str] | None] = {}
    try:
        async with open_runner(settings) as runner:
            for name in importers:
                runs = await runner.store.history(name, 1)
                found[name] = (runs[0].ended_ms, runs[0].grade, f"{runs[0].counts.items:,}") if runs else None
    except RedisError as error:
        raise OperatorError(_failure(error, settings)) from None
    return found


def run_or_refuse(work: Coroutine[Any, Any, _Result], settings: Settings | None = None) -> _Result:
    """Run requests to our services. Raises OperatorError for one that fails."""
    try:
        return run_interruptible(work)
    except _FAILURES as error:
        raise OperatorError(_failure(error, settings)) from None


def _failure(error: Exception, settings: Settings | None) -> str:
    """Return what failed. A server that does not respond is named with its address, without a password."""
    if settings is not None and isinstance(error, RedisConnectionError):
        address = _address(settings.redis_url.get_secret_value())
        return f"the Redis of the importers does not respond at {address}: see OFFERS_REDIS_URL"
    if settings is not None and isinstance(error, ServiceUnavailable):
        return f"storage does not respond at {_address(settings.storage_url)}: see OFFERS_STORAGE_URL"
    return f"{type(error).__name__}: {error}"


def _address(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
