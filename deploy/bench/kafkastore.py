"""bench.kafkastore: entries of a queue, enriched with place and device, in Kafka and confirmed."""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from redis import Redis
from rich.console import Console
from uuid_utils import uuid7

from deploy.bench import figures
from deploy.bench.figures import Round
from deploy.bench.machine import Cores, Usage, divide
from deploy.bench.rounds import Effort, in_turns
from deploy.errors import OperatorError
from deploy.localstack import LocalStack
from deploy.localstack.kafka import KafkaChoice
from deploy.localstack.processes import LocalProcess
from deploy.traffic import TrackingRequest, read_log
from services.backbone import names
from services.backbone.events import RawEvent, encode_raw
from services.backbone.kafka import TopicOffsets

FIRST_ENRICHER = "geoip2, user-agents, urlencode, send"
EXAMPLE_LOG = Path(__file__).parents[2] / "tests" / "examples" / "access.log"

_PER_SECOND = 40_000  # entries made for each second of a round: what is aimed at, at the least
_FIRST_PER_SECOND = 1_000
_PUSHED_AT_ONCE = 5_000
_LOOK_S = 0.002
_STALL_S = 60.0
_ROOT = Path(__file__).parents[2]


def bench_kafkastore(effort: Effort, *, log: Path, kafka: KafkaChoice, json_output: bool) -> int:
    """Measure from the first claim to the last confirmation, caches cold at the start. Returns the exit code."""
    console = Console(stderr=json_output)
    cores = divide()
    requests = list(read_log(log))
    with LocalStack(kafka=kafka, say=console.print) as stack:
        arena = _Arena(stack, cores, requests)
        rows = in_turns({"kafkastore": arena.drain, FIRST_ENRICHER: arena.drain_first}, effort, console)
    found = figures.summed_up("kafkastore", rows["kafkastore"], {FIRST_ENRICHER: rows[FIRST_ENRICHER]})
    title = f"a full queue of {len(requests):,} different lines over and over, caches cold at the start of each round"
    return figures.tell(found, [figures.table(title, rows)], console, json_output=json_output)


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
            begin_s = _wait_until(lambda: self._listed() < count, service.process)
            usage = Usage([service.pid])
            end_s = _wait_until(lambda: self._settled() >= count, service.process)
            cpu_us, rss_mb = 1e6 * usage.cpu_s() / count, usage.rss_mb()
        finally:
            service.stop()
        lost = count - self._settled("produced")
        if self._stack.kafka.kind == "apache":  # Tansu tells the ends of a topic too low
            lost = max(lost, count - (self._in_topic() - before))
        return Round(rate=count / (end_s - begin_s), lost=lost, cpu_us_per_event=cpu_us, rss_mb=rss_mb)

    def drain_first(self, seconds: float) -> Round:
        """Let the enricher that one would write first do the same with less."""
        count = int(_FIRST_PER_SECOND * seconds)
        self._fill(count)
        database = self._stack.environment()["GEOIP_DATABASE"]
        script = ["-m", "deploy.bench.references.first_enricher"]
        where = [self._stack.redis_url, self._stack.bootstrap_servers, database]
        process = LocalProcess(
            "first-enricher",
            [*self._cores.within, sys.executable, *script, *where],
            log=self._stack.log_directory / "first-enricher.log",
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            cwd=_ROOT,
        )
        process.start()
        try:
            begin_s = _wait_until(lambda: self._listed() < count, process)
            usage = Usage([process.pid])
            end_s = _wait_until(lambda: self._settled() >= count, process)
            return Round(
                rate=count / (end_s - begin_s), cpu_us_per_event=1e6 * usage.cpu_s() / count, rss_mb=usage.rss_mb()
            )
        finally:
            process.stop()

    def _fill(self, count: int) -> None:
        """Put `count` entries into an empty Redis, as a tracker would have: each with an id of its own."""
        self._redis.flushall()
        now_ms = time.time_ns() // 1_000_000
        entries = [_entry(request, now_ms) for request in islice(cycle(self._requests), count)]
        for begin in range(0, count, _PUSHED_AT_ONCE):
            self._redis.rpush(names.RAW_EVENTS_LIST, *entries[begin : begin + _PUSHED_AT_ONCE])
        self._redis.hset(names.LEDGER, "accepted", count)

    def _listed(self) -> int:
        listed: Any = self._redis.llen(names.RAW_EVENTS_LIST)
        return int(listed)

    def _settled(self, *states: str) -> int:
        sums: Any = self._redis.hmget(names.LEDGER, list(states or ("produced", "dead")))
        return sum(int(each or 0) for each in sums)

    def _in_topic(self) -> int:
        async def ends() -> int:
            async with TopicOffsets(self._stack.bootstrap_servers, names.EVENTS_TOPIC) as topic:
                return sum((await topic.ends()).values())

        return asyncio.run(ends())


def _entry(request: TrackingRequest, now_ms: int) -> bytes:
    path, _, query = request.target.partition("?")
    return encode_raw(
        RawEvent(
            id=str(uuid7()),
            received_at_ms=now_ms,
            address=request.address,
            host=b"trk.example.org",
            pod="10.0.0.7",
            path=path.encode(),
            query=query.encode(),
            user_agent=request.user_agent.encode(),
            referrer=request.referrer.encode(),
        )
    )


def _wait_until(is_so: Callable[[], bool], process: LocalProcess) -> float:
    """Return the time at which it was so. Raises OperatorError when the process has ended, or nothing happens."""
    limit_s = time.perf_counter() + _STALL_S
    while not is_so():
        if not process.is_alive or time.perf_counter() > limit_s:
            raise OperatorError(f"{process.name} does not get on with it.\n{process.log_tail()}")
        time.sleep(_LOOK_S)
    return time.perf_counter()
