"""The offers tasks: importers and the offers that they made."""

import os

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from deploy.operate import endpoints
from deploy.tasks import exit_with, path, report_errors


@task(name="list")
def list_importers(_context: Context) -> None:
    """Show the importers with their owner, their schedule and their last run."""
    from deploy.operate import offers

    with report_errors():
        exit_with(offers.show(endpoints.environment(os.environ)))


@task(
    name="check",
    help={"source": "the YAML file of a source", "file": "read this document instead of fetching it"},
)
def check_source(_context: Context, source: str, file: str = "") -> None:
    """Fetch a source once and show ten offers and the rejections. Nothing is written."""
    from deploy.operate import offers

    with report_errors():
        fixture = path(file) if file else None
        exit_with(offers.check(endpoints.environment(os.environ), path(source), fixture=fixture))


@task(
    name="run",
    help={
        "name": "the importer, as in offers.list",
        "dry-run": "only show what would be written",
        "file": "read this document in place of the source, and ask before it is written",
        "yes": "do not ask for confirmation",
    },
)
def run_importer(_context: Context, name: str, dry_run: bool = False, file: str = "", yes: bool = False) -> None:
    """Run an importer now, in this process. It holds the lease, so it never runs twice at once."""
    from deploy.operate import offers

    with report_errors():
        fixture = path(file) if file else None
        exit_with(offers.run(endpoints.environment(os.environ), name, dry_run=dry_run, fixture=fixture, yes=yes))


@task(
    name="delete-all",
    help={
        "owner": "the owner of the offers, as in offers.list",
        "dry-run": "only count",
        "yes": "do not ask for confirmation",
    },
)
def delete_offers(_context: Context, owner: str = "", dry_run: bool = False, yes: bool = False) -> None:
    """Delete all offers of an owner. It counts them and asks first."""
    from deploy.operate import offers

    with report_errors():
        exit_with(offers.delete_all(endpoints.environment(os.environ), owner, dry_run=dry_run, yes=yes))


@task(
    name="export",
    help={
        "owner": "the owner of the offers, as in offers.list",
        "file": "the zip file, or - for stdout; without it OWNER.zip",
        "dry-run": "only count",
    },
)
def export_offers(_context: Context, owner: str = "", file: str = "", dry_run: bool = False) -> None:
    """Write all offers of an owner and their pictures to a zip file. It counts them first."""
    from deploy.operate import export_offers

    with report_errors():
        target = None if file == "-" else path(file or export_offers.file_name(owner))
        exit_with(export_offers.export(endpoints.environment(os.environ), owner, target, dry_run=dry_run))


collection = Collection("offers", list_importers, check_source, run_importer, delete_offers, export_offers)
