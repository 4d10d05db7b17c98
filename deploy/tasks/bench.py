"""The bench tasks: measure the speed of each part and compare it with references in the same run."""

import inspect
from importlib import import_module
from typing import Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from deploy.tasks import exit_with, path, report_errors

# The flags of all benches, with their defaults. Each bench takes those of its signature.
_FLAGS: dict[str, tuple[Any, str]] = {
    "rounds": ("5", "how often each contender runs; the medians are reported (default 5)"),
    "seconds": ("5", "length of a round (default 5)"),
    "brief": (False, "one round of one second: shows only that nothing is lost; the results mean nothing"),
    "json": (False, "the last line on standard output is one JSON object, all else goes to standard error"),
    "log": ("", "the access log whose lines are the events (default: the 300 lines of tests/examples)"),
    "kafka": ("auto", "the broker: apache, tansu, or auto (Apache Kafka if Java 17 and Maven are installed)"),
    "consumer": ("event_counter", "a consumer of the catalog, for example timing_stats (default event_counter)"),
    "uploads": ("0", "at the end, upload this many small pictures and report the growth of the memory (default 0)"),
}
_EFFORT = ("rounds", "seconds", "brief", "json")
_EVENTS = ("log", "kafka")


def _bench(name: str, module: str, summary: str, *flags: str) -> Any:
    """Make the task `bench.<name>`, which calls `deploy.bench.<module>.bench_<name>` with the values of its flags."""

    def run(_context: Context, **values: Any) -> None:
        with report_errors():
            # Imported when the task runs: `--list` must not load every bench.
            from deploy.bench.entries import EXAMPLE_LOG
            from deploy.bench.rounds import parse_effort

            effort = parse_effort(**{flag: values.pop(flag) for flag in ("rounds", "seconds", "brief")})
            if "log" in values:
                values["log"] = path(values["log"]) if values["log"] else EXAMPLE_LOG
            bench = getattr(import_module(f"deploy.bench.{module}"), f"bench_{name}")
            exit_with(bench(effort=effort, json_output=values.pop("json"), **values))

    names = (*_EFFORT, *flags)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(flag, kind, default=_FLAGS[flag][0]) for flag in names]
    run.__signature__ = inspect.Signature([inspect.Parameter("context", kind), *parameters])  # type: ignore[attr-defined]
    run.__doc__ = summary
    return task(run, name=name, help={flag: _FLAGS[flag][1] for flag in names})


_BENCHES = (
    _bench("tracker", "tracker", "Measure GETs that Redis confirms, beside a constant nginx and a simple tracker."),
    _bench("batch", "tracker", "Measure batches of 500 entries, beside a simple tracker."),
    _bench("kafkastore", "kafkastore", "Measure draining a full queue into Kafka, beside a simple enricher.", *_EVENTS),
    _bench("consumers", "consumers", "Measure counting a full topic, beside a simple consumer.", *_EVENTS, "consumer"),
    _bench(
        "pipeline", "pipeline", "Measure the highest rate without growing lag, and the delay at half of it.", *_EVENTS
    ),
    _bench(
        "kafidx", "kafidx", "Measure rows to twenty subscribers and their delay, beside a simple live view.", *_EVENTS
    ),
    _bench(
        "images",
        "images",
        "Measure pixels, uploads and reads of pictures, beside thumbor and nginx image_filter.",
        "uploads",
    ),
)


@task(
    name="profile",
    positional=["service"],
    help={
        "log": f"{_FLAGS['log'][1]}; not for tracker",
        "seconds": "length of each of the two samples, table and graph (default 5, at most 30)",
        "service": "a service that has a bench, for example tracker",
    },
)
def profile_service(_context: Context, service: str, seconds: str = "5", log: str = "") -> None:
    """Write a flame graph of a service under the load of its bench, and list the functions that take its time."""
    with report_errors():
        from deploy.bench import profile

        exit_with(profile.profile(service, seconds=profile.parse_seconds(seconds), log=path(log) if log else None))


@task(
    help={
        "size": "the number of searches (default 1000000)",
        "queries": "the number of offers in each scene (default 200); the simpler ways run at most 20",
        "cache": "the cache of MongoDB in GB (default 1; the local stack has 0.25, which a million searches exceed)",
        "json": _FLAGS["json"][1],
    }
)
def match(_context: Context, size: str = "1000000", queries: str = "200", cache: str = "1", json: bool = False) -> None:
    """Measure finding the searches of an offer, beside the own radius and Redis GEOSEARCH."""
    with report_errors():
        from deploy.bench.match import bench_match

        exit_with(bench_match(size=size, queries=queries, cache_gb=cache, json_output=json))


@task(
    help={
        "size": "the number of offers, and of searches (default 100000)",
        "seconds": "length of the load at the highest rate (default 60)",
        "json": _FLAGS["json"][1],
    }
)
def storage(_context: Context, size: str = "100000", seconds: str = "60", json: bool = False) -> None:
    """Measure mixed requests to storage at the highest rate at which nothing piles up."""
    with report_errors():
        from deploy.bench.storage import bench_storage

        exit_with(bench_storage(size=size, seconds=seconds, json_output=json))


@task(help={"record": "store the last results as the recorded ones (deploy/bench/recorded.json)"})
def compare(_context: Context, record: bool = False) -> None:
    """Compare the ratios of the last benches with the recorded ones. Exit code 1 when one fell by over 20 %."""
    with report_errors():
        from deploy.bench import compare as comparing

        exit_with(comparing.compare(record=record))


namespace = Collection("bench", *_BENCHES, match, storage, profile_service, compare)
