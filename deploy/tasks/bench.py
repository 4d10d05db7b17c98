"""bench: how fast the parts are, beside references in the same run."""

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from deploy.localstack.kafka import KafkaChoice
from deploy.tasks import end_with, path, told_plainly

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
    with told_plainly():
        from deploy.bench import rounds as turns
        from deploy.bench import tracker

        effort = turns.parse_effort(rounds=rounds, seconds=seconds, brief=brief)
        end_with(tracker.bench_tracker(effort, json_output=json))


@task(name="batch", help=_EFFORT)
def bench_batch(
    _context: Context, rounds: str = "5", seconds: str = "5", brief: bool = False, json: bool = False
) -> None:
    """Measure batches of 500 entries, beside a tracker as one would write it first."""
    with told_plainly():
        from deploy.bench import rounds as turns
        from deploy.bench import tracker

        effort = turns.parse_effort(rounds=rounds, seconds=seconds, brief=brief)
        end_with(tracker.bench_batch(effort, json_output=json))


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
    with told_plainly():
        from deploy.bench import kafkastore
        from deploy.bench import rounds as turns

        effort = turns.parse_effort(rounds=rounds, seconds=seconds, brief=brief)
        lines = path(log) if log else kafkastore.EXAMPLE_LOG
        end_with(kafkastore.bench_kafkastore(effort, log=lines, kafka=kafka, json_output=json))


namespace = Collection("bench", bench_tracker, bench_batch, bench_kafkastore)
