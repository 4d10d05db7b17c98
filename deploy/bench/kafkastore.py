"""bench.kafkastore: entries of a queue, enriched with location and device, confirmed by Kafka."""

import asyncio
from itertools import islice
from pathlib import Path
from typing import Any

from redis import Redis

from deploy.bench import report, results
from deploy.bench.entries import entries
from deploy.bench.machine import Cores, Usage, divide
from deploy.bench.references.first import first_process
from deploy.bench.results import Round
from deploy.bench.rounds import Effort, in_turns
from deploy.bench.waiting import wait_until
from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaChoice
from deploy.operate.access_log import TrackingRequest, read_log
from services.backbone import names
from services.backbone.kafka import TopicOffsets

FIRST_ENRICHER = "geoip2, user-agents, urlencode, send"

_PER_SECOND = 40_000  # minimum number of entries for each second of a round
_FIRST_PER_SECOND = 1_000
_PUSHED_AT_ONCE = 5_000


def bench_kafkastore(effort: Effort, *, log: Path, kafka: KafkaChoice, json_output: bool) -> int:
    """Measure from the first claim to the last confirmation, with cold caches. Returns the exit code."""
    output = report.console(json_output=json_output)
    cores = divide()
    requests = list(read_log(log))
    with LocalStack(kafka=kafka, say=output.print) as stack:
        arena = _Arena(stack, cores, requests)
        rows = in_turns({"kafkastore": arena.drain, FIRST_ENRICHER: arena.drain_first}, effort, output)
    found = results.summed_up("kafkastore", rows["kafkastore"], {FIRST_ENRICHER: rows[FIRST_ENRICHER]})
    title = f"a full queue of {len(requests):,} different lines repeated, cold caches at the start of each round"
    return report.report(
        found, [results.table(title, rows)], output, effort, json_output=json_output, load=f"{len(requests):,} lines"
    )


class _Arena:
    """A Redis with a full queue, and a broker."""

    def __init__(self, stack: LocalStack, cores: Cores, requests: list[TrackingRequest]) -> None:
        self._stack = stack
        self._cores = cores
        self._requests = requests
        self._redis = Redis.from_url(stack.redis_url)

    def drain(self, seconds: float) -> Round:
        """Let a new kafkastore drain a full queue."""
        count = int(_PER_SECOND * seconds)
        self._fill(count)
        before = self._in_topic()
        service = self._stack.start_service("kafkastore", within=self._cores.within)
        try:
            begin_s = wait_until(lambda: self._listed() < count, service.process)
            usage = Usage([service.pid])
            end_s = wait_until(lambda: self._steady() >= count, service.process)
            cpu_us, rss_mb = 1e6 * usage.cpu_s() / count, usage.rss_mb()
        finally:
            service.stop()
        lost = abs(count - self._steady("produced"))
        if self._stack.kafka.kind == "apache":  # Tansu reports end offsets that are too low
            lost = max(lost, count - (self._in_topic() - before))
        return Round(rate=count / (end_s - begin_s), lost=lost, cpu_us_per_event=cpu_us, rss_mb=rss_mb)

    def drain_first(self, seconds: float) -> Round:
        """Let the simple enricher do the same with fewer entries."""
        count = int(_FIRST_PER_SECOND * seconds)
        self._fill(count)
        database = self._stack.environment()["GEOIP_DATABASE"]
        where = [self._stack.redis_url, self._stack.bootstrap_servers, database]
        process = first_process("enricher", *where, within=self._cores.within, logs=self._stack.log_directory)
        process.start()
        try:
            begin_s = wait_until(lambda: self._listed() < count, process)
            usage = Usage([process.pid])
            end_s = wait_until(lambda: self._steady() >= count, process)
            return Round(
                rate=count / (end_s - begin_s), cpu_us_per_event=1e6 * usage.cpu_s() / count, rss_mb=usage.rss_mb()
            )
        finally:
            process.stop()

    def _fill(self, count: int) -> None:
        """Put `count` entries into an empty Redis as a tracker does, each with its own id."""
        self._redis.flushall()
        made = entries(self._requests, count)
        while part := list(islice(made, _PUSHED_AT_ONCE)):
            self._redis.rpush(names.RAW_EVENTS_LIST, *part)
        self._redis.hset(names.LEDGER, "accepted", count)

    def _listed(self) -> int:
        listed: Any = self._redis.llen(names.RAW_EVENTS_LIST)
        return int(listed)

    def _steady(self, *states: str) -> int:
        sums: Any = self._redis.hmget(names.LEDGER, list(states or ("produced", "dead")))
        return sum(int(each or 0) for each in sums)

    def _in_topic(self) -> int:
        async def ends() -> int:
            async with TopicOffsets(self._stack.bootstrap_servers, names.EVENTS_TOPIC) as topic:
                return sum((await topic.ends()).values())

        return asyncio.run(ends())
