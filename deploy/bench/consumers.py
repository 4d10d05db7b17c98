"""bench.consumers: events that a statistics consumer counts, from the poll to written counts and positions."""

import asyncio
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from redis import Redis

from deploy import catalog
from deploy.bench import report, results
from deploy.bench.entries import records
from deploy.bench.machine import Cores, Usage, divide
from deploy.bench.references.first import first_process
from deploy.bench.references.first_consumer import COUNTED
from deploy.bench.results import Round
from deploy.bench.rounds import Effort, in_turns
from deploy.bench.waiting import wait_until
from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaChoice
from deploy.develop.localstack.processes import LocalProcess
from deploy.errors import OperatorError
from deploy.operate.access_log import TrackingRequest, read_log
from services.backbone import names
from services.backbone.kafka import EventProducer
from services.backbone.settings import KafkaSettings

FIRST_CONSUMER = "ZINCRBY for each event"

_PER_SECOND = 60_000  # minimum number of events in the topic for each second of a round
_FIRST_PER_SECOND = 1_500
_PRODUCED_AT_ONCE = 5_000


def bench_consumers(consumer: str, effort: Effort, *, log: Path, kafka: KafkaChoice, json_output: bool) -> int:
    """Measure one statistics consumer on a full topic. Returns the exit code."""
    known = catalog.load().consumers
    if consumer not in known:
        raise OperatorError(f"--consumer {consumer}: unknown consumer. Use one of {', '.join(known)}.")
    output = report.console(json_output=json_output)
    cores = divide()
    requests = list(read_log(log))
    with LocalStack(kafka=kafka, say=output.print) as stack:
        arena = _Arena(stack, cores, consumer)
        output.print(f"filling the topic with {int(_PER_SECOND * effort.seconds):,} events")
        asyncio.run(arena.fill(requests, int(_PER_SECOND * effort.seconds)))
        rows = in_turns({consumer: arena.count, FIRST_CONSUMER: arena.count_first}, effort, output)
    found = results.summed_up(f"consumers {consumer}", rows[consumer], {FIRST_CONSUMER: rows[FIRST_CONSUMER]})
    title = f"{consumer} on a full topic, {len(requests):,} different lines repeated"
    return report.report(
        found, [results.table(title, rows)], output, effort, json_output=json_output, load=f"{len(requests):,} lines"
    )


class _Arena:
    """A full topic, and a Redis for counts. When it is emptied, a consumer starts at the beginning of the topic."""

    def __init__(self, stack: LocalStack, cores: Cores, consumer: str) -> None:
        self._stack = stack
        self._cores = cores
        self._consumer = consumer
        self._redis = Redis.from_url(stack.redis_url)
        self._filled = 0

    async def fill(self, requests: list[TrackingRequest], count: int) -> None:
        """Write events into the topic."""
        database = self._stack.environment()["GEOIP_DATABASE"]
        made = records(requests, count, database=Path(database) if database else None)
        settings = KafkaSettings.from_env(self._stack.environment())
        async with EventProducer(settings, request_timeout_s=60.0) as producer:
            while part := list(islice(made, _PRODUCED_AT_ONCE)):
                await producer.produce(names.EVENTS_TOPIC, part)
                self._filled += len(part)

    def count(self, seconds: float) -> Round:  # noqa: ARG002 - the size of the topic sets the time
        """Let a new process count the whole topic."""
        self._redis.flushall()
        service = self._stack.start_service("consumers", self._consumer, within=self._cores.within)
        try:
            found = self._measure(service.process, self._passed, self._filled)
        finally:
            service.stop()
        counted = self._passed("events")
        return results.with_lost(found, abs(self._filled - counted))  # counting an event twice is an error as well

    def count_first(self, seconds: float) -> Round:
        """Let the simple consumer count a part of the topic."""
        self._redis.flushall()
        where = [self._stack.redis_url, self._stack.bootstrap_servers]
        process = first_process("consumer", *where, within=self._cores.within, logs=self._stack.log_directory)
        process.start()
        try:
            return self._measure(process, self._counted_first, min(self._filled, int(_FIRST_PER_SECOND * seconds)))
        finally:
            process.stop()

    def _measure(self, process: LocalProcess, counted: Callable[[], int], count: int) -> Round:
        begin_s = wait_until(lambda: counted() > 0, process)
        already = counted()
        usage = Usage([process.pid])
        end_s = wait_until(lambda: counted() >= count, process)
        events = count - already
        if events <= 0:
            raise OperatorError("the whole topic was counted at once: use longer --seconds")
        return Round(
            rate=events / (end_s - begin_s), cpu_us_per_event=1e6 * usage.cpu_s() / events, rss_mb=usage.rss_mb()
        )

    def _passed(self, *fields: str) -> int:
        sums: Any = self._redis.hmget(
            names.progress_key(self._consumer), list(fields or ("events", "invalid", "duplicates"))
        )
        return sum(int(each or 0) for each in sums)

    def _counted_first(self) -> int:
        counted: Any = self._redis.get(COUNTED)
        return int(counted or 0)
