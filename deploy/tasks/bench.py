"""bench: how fast the parts are, beside references in the same run."""

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from deploy.develop.localstack.kafka import KafkaChoice
from deploy.tasks import exit_with, path, report_errors

_EFFORT = {
    "brief": "one round of a second: only to see that nothing is lost; the figures mean nothing",
    "json": "the last line on standard output is one JSON object, all else goes to standard error",
    "rounds": "how often each contender has its turn; medians are told (default 5)",
    "seconds": "how long a round is (default 5)",
}
_BROKER = {"kafka": "the broker: apache, tansu, or auto (Apache Kafka where Java 17 and Maven are)"}
_LOG = {"log": "the access log whose lines are the events (default: the 300 lines of tests/examples)"}


@task(name="tracker", help=_EFFORT)
def bench_tracker(
    _context: Context, rounds: str = "5", seconds: str = "5", brief: bool = False, json: bool = False
) -> None:
    """Measure GETs answered when Redis has confirmed, beside nginx with a constant and a tracker as written first."""
    with report_errors():
        from deploy.bench import rounds as turns
        from deploy.bench import tracker

        effort = turns.parse_effort(rounds=rounds, seconds=seconds, brief=brief)
        exit_with(tracker.bench_tracker(effort, json_output=json))


@task(name="batch", help=_EFFORT)
def bench_batch(
    _context: Context, rounds: str = "5", seconds: str = "5", brief: bool = False, json: bool = False
) -> None:
    """Measure batches of 500 entries, beside a tracker as one would write it first."""
    with report_errors():
        from deploy.bench import rounds as turns
        from deploy.bench import tracker

        effort = turns.parse_effort(rounds=rounds, seconds=seconds, brief=brief)
        exit_with(tracker.bench_batch(effort, json_output=json))


@task(name="kafkastore", help=_EFFORT | _BROKER | _LOG)
def bench_kafkastore(
    _context: Context,
    rounds: str = "5",
    seconds: str = "5",
    brief: bool = False,
    json: bool = False,
    log: str = "",
    kafka: KafkaChoice = "auto",
) -> None:
    """Measure a full queue drained into Kafka, claim to confirmed, beside an enricher as written first."""
    with report_errors():
        from deploy.bench import kafkastore
        from deploy.bench import rounds as turns
        from deploy.bench.entries import EXAMPLE_LOG

        effort = turns.parse_effort(rounds=rounds, seconds=seconds, brief=brief)
        lines = path(log) if log else EXAMPLE_LOG
        exit_with(kafkastore.bench_kafkastore(effort, log=lines, kafka=kafka, json_output=json))


@task(
    name="consumers",
    help=_EFFORT
    | _BROKER
    | _LOG
    | {"consumer": "which: event_counter, metadata_counter, search_counter, timing_stats"},
)
def bench_consumers(
    _context: Context,
    rounds: str = "5",
    seconds: str = "5",
    brief: bool = False,
    json: bool = False,
    log: str = "",
    kafka: KafkaChoice = "auto",
    consumer: str = "event_counter",
) -> None:
    """Measure a full topic counted, poll to counts and positions written, beside a consumer as written first."""
    with report_errors():
        from deploy.bench import consumers
        from deploy.bench import rounds as turns
        from deploy.bench.entries import EXAMPLE_LOG

        effort = turns.parse_effort(rounds=rounds, seconds=seconds, brief=brief)
        lines = path(log) if log else EXAMPLE_LOG
        exit_with(consumers.bench_consumers(consumer, effort, log=lines, kafka=kafka, json_output=json))


@task(name="pipeline", help=_EFFORT | _BROKER | _LOG)
def bench_pipeline(
    _context: Context,
    rounds: str = "5",
    seconds: str = "5",
    brief: bool = False,
    json: bool = False,
    log: str = "",
    kafka: KafkaChoice = "auto",
) -> None:
    """Measure the whole path: the highest rate without growing lag and, at half of it, answered to counted."""
    with report_errors():
        from deploy.bench import pipeline
        from deploy.bench import rounds as turns
        from deploy.bench.entries import EXAMPLE_LOG

        effort = turns.parse_effort(rounds=rounds, seconds=seconds, brief=brief)
        lines = path(log) if log else EXAMPLE_LOG
        exit_with(pipeline.bench_pipeline(effort, log=lines, kafka=kafka, json_output=json))


@task(name="kafidx", help=_EFFORT | _BROKER | _LOG)
def bench_kafidx(
    _context: Context,
    rounds: str = "5",
    seconds: str = "5",
    brief: bool = False,
    json: bool = False,
    log: str = "",
    kafka: KafkaChoice = "auto",
) -> None:
    """Measure rows to twenty watchers: what one costs, and how late it is, beside a live view as written first."""
    with report_errors():
        from deploy.bench import kafidx
        from deploy.bench import rounds as turns
        from deploy.bench.entries import EXAMPLE_LOG

        effort = turns.parse_effort(rounds=rounds, seconds=seconds, brief=brief)
        lines = path(log) if log else EXAMPLE_LOG
        exit_with(kafidx.bench_kafidx(effort, log=lines, kafka=kafka, json_output=json))


@task(
    name="profile",
    positional=["service"],
    help={
        "log": f"{_LOG['log']}; not for tracker",
        "seconds": "how long to look, twice: for the table, and for the graph (default 5, at most 30)",
        "service": "tracker, kafkastore, consumers or kafidx",
    },
)
def profile_service(_context: Context, service: str, seconds: str = "5", log: str = "") -> None:
    """Write a flame graph of a service under the load of its bench, and say which functions take its time."""
    with report_errors():
        from deploy.bench import profile

        exit_with(profile.profile(service, seconds=profile.parse_seconds(seconds), log=path(log) if log else None))


@task(help={"record": "make the last figures the recorded ones (deploy/bench/recorded.json)"})
def compare(_context: Context, record: bool = False) -> None:
    """Compare the ratios of the last benches here with the recorded ones; exit code 1 when one fell by over 20 %."""
    with report_errors():
        from deploy.bench import compare as comparing

        exit_with(comparing.compare(record=record))


namespace = Collection(
    "bench",
    bench_tracker,
    bench_batch,
    bench_kafkastore,
    bench_consumers,
    bench_pipeline,
    bench_kafidx,
    profile_service,
    compare,
)
