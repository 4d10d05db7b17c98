"""The operators' commands: `python3 tasks.py <task>` anywhere, or `inv <task>` inside the virtual environment."""

import asyncio
import os
import sys

if __name__ == "__main__":
    from deploy.develop.bootstrap import main

    main(sys.argv[1:])

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from deploy.develop import derived, dotenv, locks
from deploy.develop.localstack.kafka import KafkaChoice
from deploy.errors import OperatorError
from deploy.operate import endpoints
from deploy.tasks import bench, cloud, docker, exit_with, kubernetes, minikube, path, report_errors


@task(
    name="demo",
    help={
        "json": "with --once: the last line on standard output is one JSON object, all else goes to standard error",
        "kafka": "the broker: apache, tansu, or auto (Apache Kafka where Java 17 and Maven are)",
        "log": "with --once: the access log to replay, Combined Log Format, plain or gzip",
        "once": "replay one log, wait until the books balance, print what came of it; exit code 0 if nothing was lost",
        "rate": "without --once: synthetic requests a second (default 50)",
    },
)
def run_demo(  # one line of help each
    _context: Context,
    once: bool = False,
    log: str = "",
    json: bool = False,
    kafka: KafkaChoice = "auto",
    rate: str = "50",
) -> None:
    """Run the whole system on this machine, without containers, with visitors and a live table; Ctrl-C stops it."""
    with report_errors():
        if once != bool(log):
            raise OperatorError("a replay takes both: demo --once --log FILE")
        if json and not once:
            raise OperatorError("--json tells what came of a replay: demo --once --log FILE --json")
        if once:
            from deploy.demo import replay

            exit_with(replay.replay_once(path(log), kafka=kafka, json_output=json).exit_code)
        else:
            from deploy.demo import watch
            from deploy.operate.send import parse_rate

            watch.watch(kafka=kafka, rate=parse_rate(rate))


@task(
    help={
        "log": "the access log to replay, Combined Log Format, plain or gzip",
        "rate": "requests a second (default: as fast as they are answered)",
        "url": "the tracker (default: the demo that runs, else the port in .env)",
    }
)
def send(_context: Context, log: str = "", rate: str = "", url: str = "") -> None:
    """Replay an access log to a running tracker: each line is one GET, with its address, agent and referrer."""
    from deploy.operate.send import parse_rate, send_log

    with report_errors():
        if not log:
            raise OperatorError("what is to be sent? send --log FILE")
        target = url or endpoints.find(os.environ).tracker_url
        exit_with(send_log(path(log), target, rate=parse_rate(rate)).exit_code)


@task(name="status", help={"json": "one JSON object instead of tables"})
def show_status(_context: Context, json: bool = False) -> None:
    """Show the books of the running system, its counters, and how far they are behind."""
    from deploy.operate import status

    with report_errors():
        exit_with(asyncio.run(status.show(endpoints.find(os.environ), json_output=json)))


@task(
    name="test",
    help={
        "keyword": "only tests whose names match, as pytest's -k",
        "kafka": "the broker of the tests: apache, tansu, or auto (Apache Kafka where Java 17 and Maven are)",
        "suite": "default (what is quick), broker (of these, what talks to the broker), slow, measures (slow too, and "
        "wants the machine for itself), browser (needs chromium and npm), chaos (needs nginx and Prometheus), system "
        "(Docker; needs root), endurance (what takes too long for CI), or all",
    },
)
def run_tests(_context: Context, keyword: str = "", kafka: KafkaChoice = "auto", suite: str = "default") -> None:
    """Run the tests on real servers that are started for them."""
    from deploy.develop import checks

    with report_errors():
        exit_with(checks.test(kafka=kafka, suite=suite, keyword=keyword))


@task
def check(_context: Context) -> None:
    """Check format, lint, types, import contracts and locks; edits nothing."""
    from deploy.develop import checks

    exit_with(checks.check())


@task
def fix(_context: Context) -> None:
    """Let ruff format the code and repair what it can."""
    from deploy.develop import checks

    exit_with(checks.fix())


@task(help={"upgrade": "take the newest versions instead of keeping those that are locked"})
def lock(_context: Context, upgrade: bool = False) -> None:
    """Write the lock files anew from pyproject.toml."""
    with report_errors():
        locks.write_locks(upgrade=upgrade)


@task(name="write")
def write_derived(_context: Context) -> None:
    """Write what follows from the Settings classes and the catalog: .env.template, lists for compose and Prometheus."""
    derived.write()


@task(help={"yes": "ask nothing: keep an existing .env value by value and add what it lacks"})
def generate(_context: Context, yes: bool = False) -> None:
    """Write .env from .env.template; what it marks as a secret is generated."""
    with report_errors():
        dotenv.generate_and_tell(yes=yes)


@task(
    help={
        "folder": "where the database goes (default: the user's cache)",
        "source": "maxmind (needs MAXMIND_LICENSE_KEY), dbip, bundled, or auto: the first that can be had",
    }
)
def fetch(_context: Context, folder: str = "", source: str = "auto") -> None:
    """Get a city database for kafkastore and say what to put into .env."""
    from deploy.develop import geoip

    with report_errors():
        geoip.fetch(endpoints.environment(os.environ), folder=path(folder) if folder else None, source=source)


@task(
    name="run",
    default=True,
    help={
        "json": "the last line on standard output is one JSON object, all else goes to standard error",
        "kafka": "the broker: apache, tansu (which no fault ends), or auto (Apache Kafka where Java 17 and Maven are)",
        "minutes": "how long faults are played; then the system has to come to rest",
        "only": "only faults whose name holds this",
        "rate": "requests a second",
        "seed": "what the faults are drawn from (default: drawn itself, and told)",
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
    """Hurt a system of its own under load: kills, outages, cuts; exit code 0 if nothing that was answered is lost."""
    with report_errors():
        from deploy.chaos import run

        asked = run.parse(minutes=minutes, seed=seed, rate=rate, only=only)
        exit_with(run.run_chaos(asked, kafka=kafka, json_output=json).exit_code)


@task(name="durability")
def show_durability(_context: Context) -> None:
    """Measure what Redis and Kafka lose of what they confirmed, at a kill and at a power cut (needs strace)."""
    with report_errors():
        from deploy.chaos import durability

        durability.measure_and_tell()


@task(
    name="forget",
    help={"id": "the device: what its events carry as the parameter di", "yes": "ask nothing"},
)
def forget_device(
    _context: Context,
    id: str = "",  # noqa: A002 - the name of the flag
    yes: bool = False,
) -> None:
    """Forget a device: remove what waits or died of it, and drop what it sends from now on."""
    from deploy.operate import erase

    with report_errors():
        environ = endpoints.environment(os.environ)
        exit_with(erase.forget(endpoints.find(os.environ), id, environ=environ, yes=yes))


_LETTERS_MEANT = {
    "reason": "only letters whose reason holds this text",
    "since": "only letters from this time on: 2026-11-23T10:00:00Z, or how long ago (90s, 30m, 2h, 7d)",
    "type": "only letters of events of exactly this type",
    "until": "only letters before this time",
}


@task(
    name="list",
    help={
        **_LETTERS_MEANT,
        "json": "one JSON object instead of tables",
        "limit": "how many, the newest ones (default 50; 0: all)",
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
    """Show the dead letters: what never became an event, and why."""
    from deploy.operate import dead, dead_letters

    with report_errors():
        wanted = dead_letters.parse_filter(since=since, until=until, reason=reason, event_type=type)
        exit_with(dead.show(endpoints.find(os.environ), wanted, limit=limit, json_output=json))


@task(
    name="replay",
    help={
        **_LETTERS_MEANT,
        "dry-run": "only say what would be put back",
        "rate": "letters a second (default: as fast as Redis takes them)",
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
    """Put dead letters back into the queue, once their cause is gone; each goes back once, whoever is interrupted."""
    from deploy.operate import dead, dead_letters
    from deploy.operate.send import parse_rate

    with report_errors():
        wanted = dead_letters.parse_filter(since=since, until=until, reason=reason, event_type=type)
        exit_with(dead.replay(endpoints.find(os.environ), wanted, rate=parse_rate(rate), dry_run=dry_run))


namespace = Collection(run_demo, send, show_status, forget_device, run_tests, check, fix, lock)
namespace.add_collection(bench.namespace)
namespace.add_collection(Collection("derived", write_derived))
namespace.add_collection(Collection("dotenv", generate))
namespace.add_collection(Collection("geoip", fetch))
namespace.add_collection(Collection("dead", list_dead, replay_dead))
namespace.add_collection(Collection("chaos", run_chaos, show_durability))
namespace.add_collection(docker.collection)
namespace.add_collection(kubernetes.collection)
namespace.add_collection(minikube.collection)
namespace.add_collection(cloud.collection)
namespace.add_collection(cloud.former_name)
