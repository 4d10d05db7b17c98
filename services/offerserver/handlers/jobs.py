"""The periodic jobs: one for each importer, and one that removes stale offers."""

from collections.abc import Mapping
from functools import partial
from typing import Final

from services.backbone.clients import ServiceUnavailable
from services.backbone.schedule import JobPlan, ScheduledJob
from services.offerserver.core.importer import STALE_JOB, Importer
from services.offerserver.core.reports import RunReport
from services.offerserver.handlers.clients import open_runner
from services.offerserver.handlers.importing import RunRefused
from services.offerserver.handlers.stale import remove_stale
from services.offerserver.settings import Settings
from services.offerserver.store.runs import RunOrder

REMOVE_STALE: Final = JobPlan(
    STALE_JOB,
    "41 */10 * * * *",
    "Removes the offers of importers that had no trusted run for OFFERS_STALE_DAYS.",
)


async def run_importer(settings: Settings, importer: Importer, order: str = "") -> str:
    """Run an importer, or do what an operator ordered (RunOrder). Return a sentence for the history."""
    if not settings.contact:
        return "not run: OFFERS_CONTACT is not set"
    async with open_runner(settings) as runner:
        try:
            report = await runner.run(importer, RunOrder.decode(order) if order else None)
        except RunRefused as error:
            return f"not run: {error}"
        except ServiceUnavailable as error:
            # The schedule shows this text, and it names no service otherwise.
            raise ServiceUnavailable(f"storage ({settings.storage_url}): {error}") from error
    return sentence(report)


async def run_stale(settings: Settings, importers: Mapping[str, Importer]) -> str:
    """Remove stale offers. Return a sentence for the history."""
    sources = [importer.source for importer in importers.values()]
    async with open_runner(settings) as runner:
        removed = await remove_stale(runner, sources, stale_days=settings.stale_days)
    return f"removed {removed} stale offers"


def scheduled_jobs(
    settings: Settings, importers: Mapping[str, Importer], plans: Mapping[str, JobPlan]
) -> dict[str, ScheduledJob]:
    """Return the jobs by name. `plans` has the plan of each importer."""
    jobs = {}
    for name, importer in importers.items():
        run = partial(run_importer, settings, importer)
        jobs[name] = ScheduledJob(plans[name], run, follow=run)
    return jobs | {REMOVE_STALE.name: ScheduledJob(REMOVE_STALE, partial(run_stale, settings, importers))}


def sentence(report: RunReport) -> str:
    """Return what a run did."""
    counts = report.counts
    if report.is_unchanged:
        return f"{report.mode}: trusted, the source has not changed"
    pictures = report.pictures
    numbers = {
        "new": counts.new,
        "changed": counts.match + counts.content,
        "removed": counts.removed,
        "unchanged": counts.unchanged,
        "rejected": counts.rejected,
        "with new pictures": pictures.linked,
        "pictures failed": pictures.failed,
        "pictures left for the next run": pictures.waiting,
    }
    did = ", ".join(f"{number} {name}" for name, number in numbers.items() if number) or "nothing to write"
    reasons = f" ({'; '.join(report.reasons)})" if report.reasons else ""
    return f"{report.mode}: {report.grade}{reasons}: {did}"
