"""The operators' tasks: `python3 tasks.py <task>` anywhere, or `inv <task>` inside the virtual environment."""

if __name__ == "__main__":
    from deploy.starting import exit_on_interrupt

    exit_on_interrupt()
    import sys

    from deploy.develop.bootstrap import main

    main(sys.argv[1:])

import asyncio
import os

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from deploy.develop import dotenv, locks
from deploy.develop.localstack.kafka import KafkaChoice
from deploy.develop.localstack.mongo import MongoChoice, OptionalMongoChoice
from deploy.errors import OperatorError
from deploy.operate import endpoints
from deploy.tasks import bench, cloud, docker, exit_with, kubernetes, minikube, offers, path, report_errors


@task(
    name="demo",
    help={
        "json": "with --once: the last line on standard output is one JSON object, all else goes to standard error",
        "kafka": "the broker: apache, tansu, or auto (Apache Kafka where Java 17 and Maven are)",
        "log": "with --once: the access log to replay, Combined Log Format, plain or gzip",
        "mongo": "the MongoDB server of storage: mongod, secantus, none (no storage), or auto (what runs here)",
        "once": "replay one log, wait until the ledger balances, print the result; exit code 0 if nothing was lost",
        "rate": "without --once: synthetic requests a second (default 50)",
    },
)
def run_demo(
    _context: Context,
    once: bool = False,
    log: str = "",
    json: bool = False,
    kafka: KafkaChoice = "auto",
    mongo: OptionalMongoChoice = "auto",
    rate: str = "50",
) -> None:
    """Run the whole system on this machine without containers, with visitors and a live table, until Ctrl-C."""
    with report_errors():
        from deploy.demo import command

        lines = path(log) if log else None
        exit_with(command.demo(once=once, log=lines, json_output=json, kafka=kafka, mongo=mongo, rate=rate))


@task(
    help={
        "log": "the access log to replay, Combined Log Format, plain or gzip",
        "rate": "requests a second (default: as fast as the tracker responds)",
        "url": "the tracker (default: the running demo, else the port in .env)",
    }
)
def send(_context: Context, log: str = "", rate: str = "", url: str = "") -> None:
    """Send an access log to a running tracker: a GET for each line, with its address, agent and referrer."""
    from deploy.numbers import positive_number
    from deploy.operate.send import send_log

    with report_errors():
        if not log:
            raise OperatorError("--log is missing: send --log FILE")
        target = url or endpoints.find(os.environ).tracker_url
        limit = positive_number("--rate", rate) if rate else None
        exit_with(send_log(path(log), target, rate=limit).exit_code)


@task(name="status", help={"json": "one JSON object instead of tables"})
def show_status(_context: Context, json: bool = False) -> None:
    """Show the ledger of the running system, its counters, its actions, and their lag."""
    from deploy.operate import status

    with report_errors():
        exit_with(asyncio.run(status.show(endpoints.find(os.environ), json_output=json)))


@task(
    name="test",
    help={
        "keyword": "only tests whose names match, as with pytest -k",
        "kafka": "the broker of the tests: apache, tansu, or auto (Apache Kafka where Java 17 and Maven are)",
        "mongo": "the MongoDB server of the tests: mongod, secantus, or auto (SecantusDB where no mongod runs)",
        "service": "only the tests of this service, or of backbone",
        "suite": "default (what is quick), broker (of these, what talks to the broker), slow, measures (slow too, and "
        "wants the machine for itself), browser (needs chromium and npm), chaos (needs nginx and Prometheus), system "
        "(Docker; needs root), endurance (what takes too long for CI), or all",
    },
)
def run_tests(
    _context: Context,
    keyword: str = "",
    kafka: KafkaChoice = "auto",
    mongo: MongoChoice = "auto",
    service: str = "",
    suite: str = "default",
) -> None:
    """Run the tests on real servers, which are started for them."""
    from deploy.develop import checks

    with report_errors():
        exit_with(checks.test(kafka=kafka, suite=suite, keyword=keyword, service=service, mongo=mongo))


@task
def check(_context: Context) -> None:
    """Check format, lint, types, import contracts and locks. Changes no file."""
    from deploy.develop import checks

    exit_with(checks.check())


@task
def fix(_context: Context) -> None:
    """Format the code and fix what ruff can fix."""
    from deploy.develop import checks

    exit_with(checks.fix())


@task(help={"upgrade": "use the newest versions instead of the locked ones"})
def lock(_context: Context, upgrade: bool = False) -> None:
    """Write the lock files from pyproject.toml."""
    with report_errors():
        locks.write_locks(upgrade=upgrade)


@task(name="write")
def write_derived(_context: Context) -> None:
    """Write what follows from the Settings classes and the catalog: .env.template, lists for compose and Prometheus."""
    from deploy.develop import derived

    derived.write()


@task(help={"yes": "do not ask: keep the values of an existing .env and add missing variables"})
def generate(_context: Context, yes: bool = False) -> None:
    """Write .env from .env.template, and generate its secrets."""
    with report_errors():
        dotenv.generate_and_report(yes=yes)


@task(
    help={
        "folder": "directory of the database (default: the user's cache)",
        "source": "maxmind (needs MAXMIND_LICENSE_KEY), dbip, bundled, or auto: the first that is available",
    }
)
def fetch(_context: Context, folder: str = "", source: str = "auto") -> None:
    """Download a city database for kafkastore and print the line for .env."""
    from deploy.develop import geoip

    with report_errors():
        geoip.fetch(endpoints.environment(os.environ), folder=path(folder) if folder else None, source=source)


@task
def vendor(_context: Context) -> None:
    """Write the files of the npm packages (needs npm) and the place names of the maps (from PyPI) into the pages."""
    from deploy.develop.places import fetch_places
    from deploy.develop.vendor import fetch_packages

    with report_errors():
        fetch_packages()
        fetch_places()


@task(
    name="run",
    default=True,
    help={
        "json": "the last line on standard output is one JSON object, all else goes to standard error",
        "kafka": "the broker: apache, tansu (excluded from faults), or auto (Apache Kafka where Java 17 and Maven are)",
        "minutes": "duration of the faults; the system then drains",
        "only": "only faults whose name contains this",
        "rate": "requests a second",
        "seed": "seed of the random faults (default: chosen and printed)",
    },
)
def run_chaos(
    _context: Context,
    minutes: str = "2",
    seed: str = "",
    json: bool = False,
    kafka: KafkaChoice = "auto",
    rate: str = "60",
    only: str = "",
) -> None:
    """Inject faults into a system under load: kills, outages, cuts. Exit code 0 if no acknowledged event is lost."""
    with report_errors():
        from deploy.chaos import run

        asked = run.parse(minutes=minutes, seed=seed, rate=rate, only=only)
        exit_with(run.run_chaos(asked, kafka=kafka, json_output=json).exit_code)


@task(name="durability")
def show_durability(_context: Context) -> None:
    """Measure what Redis and Kafka lose after confirming it, at a kill and at a power cut (needs strace)."""
    with report_errors():
        from deploy.chaos import durability

        durability.measure_and_report()


@task(
    name="erase",
    help={"id": "the device id, the parameter di of its events", "yes": "do not ask for confirmation"},
)
def erase_device(
    _context: Context,
    id: str = "",  # noqa: A002 - the name of the flag
    yes: bool = False,
) -> None:
    """Erase a device: remove its queued entries, dead letters and dead actions, and drop its future events."""
    from deploy.operate import erase

    with report_errors():
        environ = endpoints.environment(os.environ)
        exit_with(erase.erase(endpoints.find(os.environ), id, environ=environ, yes=yes))


_FILTER_FLAGS = {
    "reason": "only letters whose reason contains this text",
    "since": "only letters since a time (2026-11-23T10:00:00Z) or an age (90s, 30m, 2h, 7d)",
    "type": "only letters of this exact event type",
    "until": "only letters before this time or age",
}


@task(
    name="list",
    help={
        **_FILTER_FLAGS,
        "json": "one JSON object instead of tables",
        "limit": "number of letters, the newest first (default 50; 0: all)",
    },
)
def list_dead(
    _context: Context,
    since: str = "",
    until: str = "",
    reason: str = "",
    type: str = "",  # noqa: A002 - the name of the flag
    limit: int = 50,
    json: bool = False,
) -> None:
    """Show the dead letters: entries that could not become events, and why."""
    from deploy.operate import dead, dead_letters

    with report_errors():
        selected = dead_letters.parse_filter(since=since, until=until, reason=reason, event_type=type)
        exit_with(dead.show(endpoints.find(os.environ), selected, limit=limit, json_output=json))


@task(
    name="replay",
    help={
        **_FILTER_FLAGS,
        "dry-run": "only show what would be put back",
        "rate": "letters a second (default: as fast as Redis accepts them)",
    },
)
def replay_dead(
    _context: Context,
    since: str = "",
    until: str = "",
    reason: str = "",
    type: str = "",  # noqa: A002 - the name of the flag
    rate: str = "",
    dry_run: bool = False,
) -> None:
    """Put the entries of dead letters back into the queue, after their cause is fixed. Each goes back exactly once."""
    from deploy.numbers import positive_number
    from deploy.operate import dead, dead_letters

    with report_errors():
        selected = dead_letters.parse_filter(since=since, until=until, reason=reason, event_type=type)
        limit = positive_number("--rate", rate) if rate else None
        exit_with(dead.replay(endpoints.find(os.environ), selected, rate=limit, dry_run=dry_run))


_ACTION_FLAGS = {
    "handler": "only actions of this handler",
    "text": "only actions with this text in their arguments, reason, traceback or id",
}


@task(
    name="list",
    help={
        **_ACTION_FLAGS,
        "json": "one JSON object instead of a table",
        "limit": "number of actions, the newest first (default 50; 0: all)",
    },
)
def list_dead_actions(
    _context: Context, handler: str = "", text: str = "", limit: int = 50, json: bool = False
) -> None:
    """Show the dead actions: events that are not acted on, and why."""
    from deploy.operate import dead_actions
    from services.backbone.dead_actions import DeadActionFilter

    with report_errors():
        selected = DeadActionFilter(handler, text)
        exit_with(dead_actions.show(endpoints.find(os.environ), selected, limit=limit, json_output=json))


@task(
    name="retry",
    help={**_ACTION_FLAGS, "dry-run": "only show how many would be retried", "yes": "do not ask for confirmation"},
)
def retry_dead_actions(
    _context: Context, handler: str = "", text: str = "", dry_run: bool = False, yes: bool = False
) -> None:
    """Retry dead actions, after their cause is fixed. Each is retried once."""
    from deploy.operate import dead_actions
    from services.backbone.dead_actions import DeadActionFilter

    with report_errors():
        selected = DeadActionFilter(handler, text)
        exit_with(dead_actions.retry(endpoints.find(os.environ), selected, dry_run=dry_run, yes=yes))


@task(
    name="show",
    help={
        "group": "the partitions of this consumer group (default: a row for each group)",
        "json": "one JSON object, no table",
    },
)
def show_offsets(_context: Context, group: str = "", json: bool = False) -> None:
    """Show where the consumer groups are in the topic of events, and how far each is behind."""
    from deploy.operate import offsets

    with report_errors():
        environ = endpoints.environment(os.environ)
        exit_with(offsets.show(endpoints.find(os.environ), group=group, environ=environ, json_output=json))


@task(
    name="set",
    help={
        "dry-run": "only show what would be repeated or skipped",
        "group": "the consumer group: the name of a consumer, as in offsets.show",
        "partition": "only this partition (default: all)",
        "to": "earliest, latest, or the first record since a time (2026-11-23T10:00:00Z) or an age (90s, 30m, 2h, 7d)",
        "yes": "do not ask for confirmation",
    },
)
def set_offsets(
    _context: Context, group: str = "", to: str = "", partition: str = "", dry_run: bool = False, yes: bool = False
) -> None:
    """Move a consumer group to other offsets of the topic, so that it repeats or skips events. It may run meanwhile."""
    from deploy.operate import offsets

    with report_errors():
        environ = endpoints.environment(os.environ)
        exit_with(
            offsets.move(
                endpoints.find(os.environ),
                group=group,
                to=to,
                partition=partition,
                environ=environ,
                dry_run=dry_run,
                yes=yes,
            )
        )


namespace = Collection(run_demo, send, show_status, erase_device, run_tests, check, fix, lock)
namespace.add_collection(bench.namespace)
namespace.add_collection(Collection("derived", write_derived))
namespace.add_collection(Collection("dotenv", generate))
namespace.add_collection(Collection("geoip", fetch))
namespace.add_collection(Collection("assets", vendor))
namespace.add_collection(Collection("dead", list_dead, replay_dead))
namespace.add_collection(Collection("actions", Collection("dead", list_dead_actions, retry_dead_actions)))
namespace.add_collection(Collection("offsets", show_offsets, set_offsets))
namespace.add_collection(offers.collection)
namespace.add_collection(Collection("chaos", run_chaos, show_durability))
namespace.add_collection(docker.collection)
namespace.add_collection(kubernetes.collection)
namespace.add_collection(minikube.collection)
namespace.add_collection(cloud.collection)
namespace.add_collection(cloud.former_name)
