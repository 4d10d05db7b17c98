"""bench.pipeline: the whole path on this machine, from the acknowledged pixel to the counted event."""

import contextlib
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from redis import Redis
from rich.console import Console
from rich.table import Table

from deploy import catalog
from deploy.bench import report, results
from deploy.bench.load import BenchLoad
from deploy.bench.machine import Usage
from deploy.bench.probes import COUNTER, Probes
from deploy.bench.references.nginx import ConstantNginx
from deploy.bench.results import Round
from deploy.bench.rounds import Contender, Effort, in_turns
from deploy.bench.tracker import NGINX, UnderLoad
from deploy.demo.system import running_system
from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaChoice
from deploy.develop.localstack.ports import is_listening
from deploy.errors import OperatorError
from deploy.operate.access_log import count_requests
from services.backbone import names

_FIRST_RATE = 500.0
_FINER = 3  # number of times the last step is halved: an eighth of it is below the machine's noise
_STEP_S = 8.0
_GROWTH_S = 0.25  # allowed growth of the queue from the middle of a step to its end, in seconds of its rate
_MOST_WAITING_S = 2.0
_LATE_S = 0.5  # a client that is later does not sustain the rate
_COUNTED_LIMIT_S = 60.0


@dataclass(frozen=True)
class Step:
    """The result of one rate."""

    rate: float
    sustained: bool
    why: str
    waiting: int
    """Events accepted and not yet counted by all consumers at the end of the step."""


def bench_pipeline(effort: Effort, *, log: Path, kafka: KafkaChoice, json_output: bool) -> int:
    """Find the highest sustained rate, and measure the delay of events at half of it. Returns the exit code."""
    output = report.console(json_output=json_output)
    with running_system(kafka=kafka, console=output) as stack, contextlib.ExitStack() as cleanup:
        path = _Path(stack, log)
        steps = [] if effort.is_brief else path.find_highest(output)
        highest = max((step.rate for step in steps if step.sustained), default=0.0)
        if steps and not highest:
            raise OperatorError(f"the path does not sustain {_FIRST_RATE:.0f} events a second: {steps[0].why}")
        rate = highest / 2 or _FIRST_RATE
        nginx = path.start_nginx(cleanup)
        rows = in_turns({"pipeline": lambda seconds: path.at(rate, seconds), NGINX: nginx}, effort, output)
        missing = path.missing()
        services = _services_table(path.used)
    # A brief bench does not search. It reports the rate of its load.
    reached = [Round(rate=highest)] if highest else rows["pipeline"]
    speed = results.summed_up("pipeline", reached, {NGINX: rows[NGINX]})
    found = results.summed_up("pipeline", rows["pipeline"], {})
    found = replace(found, rate=speed.rate, ratios=speed.ratios, lost=found.lost + missing)
    half = ", half of the highest rate sustained" if highest else ""
    tables = [_steps_table(steps)] if steps else []
    tables += [results.table(f"acknowledged to counted at {rate:,.0f} events a second{half}", rows), services]
    return report.report(found, tables, output, effort, json_output=json_output, load=f"{count_requests(log):,} lines")


class _Path:
    """The whole system under load, and its measurements."""

    def __init__(self, stack: LocalStack, log: Path) -> None:
        self._stack = stack
        self._log = log
        self._port = int(stack.service("tracker").env["TRACKER_PORT"])
        self._redis = Redis.from_url(stack.redis_url)
        self._acknowledged = 0
        self._rounds = 0
        self.used: dict[str, tuple[float, float]] = {}
        """Process -> cores and megabytes that it used in the last round."""

    def find_highest(self, console: Console) -> list[Step]:
        """Try rates: double the last one until one is not sustained, then search between the last two."""
        steps: list[Step] = []

        def sustained(rate: float) -> bool:
            step = self._try(rate)
            steps.append(step)
            console.print(f"{rate:8,.0f} events/s: {'sustained' if step.sustained else step.why}")
            return step.sustained

        lower, upper = 0.0, _FIRST_RATE
        while sustained(upper):
            lower, upper = upper, 2 * upper
        for _ in range(_FINER if lower else 0):
            middle = (lower + upper) / 2
            lower, upper = (middle, upper) if sustained(middle) else (lower, middle)
        return steps

    def at(self, rate: float, seconds: float) -> Round:
        """Send a sustained load, and follow probes among it."""
        self._rounds += 1
        probes = Probes(self._port, self._redis, name=f"probe-{self._rounds}")
        pids = {service.label: service.pid for service in self._stack.services}
        servers = {"redis": self._stack.redis.process.pid, "kafka": self._stack.kafka.process.pid}
        usages = {name: Usage([pid]) for name, pid in {**pids, **servers}.items()}
        begin_s = time.perf_counter()
        with BenchLoad(self._port, self._log, rate=rate, seconds=seconds) as load:
            while load.is_running:
                probes.step()
            loaded = load.result()
        seconds_taken = time.perf_counter() - begin_s
        self.used = {name: (usage.cpu_s() / seconds_taken, usage.rss_mb()) for name, usage in usages.items()}
        limit_s = time.perf_counter() + _COUNTED_LIMIT_S
        while probes.uncounted and time.perf_counter() < limit_s:
            probes.step(send=False)
        probes.close()
        self._acknowledged += loaded.acknowledged + probes.sent
        self._wait_until_counted()
        cpu_s = sum(usage.cpu_s() for usage in usages.values())  # of all processes, Redis and Kafka included
        return replace(
            results.latency_round(
                probes.latencies_s, rate=loaded.acknowledged / loaded.seconds, lost=loaded.refused + probes.uncounted
            ),
            cpu_us_per_event=1e6 * cpu_s / loaded.acknowledged,
            rss_mb=sum(self.used[name][1] for name in pids),
        )

    def start_nginx(self, cleanup: contextlib.ExitStack) -> Contender:
        """Start nginx as a measure of the machine."""
        nginx = ConstantNginx(self._stack.data_directory / "nginx")
        cleanup.callback(nginx.stop)
        nginx.start()
        nginx.wait_until(lambda: is_listening(nginx.port), timeout_s=10)
        return UnderLoad(nginx, nginx.port, lambda _acknowledged: 0).at_full_speed

    def missing(self) -> int:
        """Return how many events got a response 200 and are not counted by every consumer.

        More can be counted than acknowledged: a request without a 2xx response can have been stored.
        """
        return max(0, self._acknowledged - min(self._counted().values()))

    def _try(self, rate: float) -> Step:
        waiting: list[int] = []
        with BenchLoad(self._port, self._log, rate=rate, seconds=_STEP_S) as load:
            while load.is_running:
                waiting.append(self._waiting())
                time.sleep(0.05)
            loaded = load.result()
        self._acknowledged += loaded.acknowledged
        third = len(waiting) // 3
        middle, last = (statistics.median(part or [0]) for part in (waiting[third : 2 * third], waiting[2 * third :]))
        why = ""
        if loaded.refused:
            why = f"{loaded.refused:,} requests got no response 200"
        elif loaded.late_s > _LATE_S:
            why = f"requests waited up to {loaded.late_s:.1f} s for a free connection"
        elif last > middle + _GROWTH_S * rate or last > _MOST_WAITING_S * rate:
            why = f"the queue grows: {middle:,.0f} events in the middle, {last:,.0f} at the end"
        self._wait_until_counted()
        return Step(rate, sustained=not why, why=why, waiting=int(last))

    def _waiting(self) -> int:
        accepted: Any = self._redis.hget(names.LEDGER, "accepted")
        return int(accepted or 0) - min(self._counted().values())

    def _counted(self) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for name in catalog.load().consumers:
            events: Any = self._redis.hget(names.progress_key(name), "events")
            found[name] = int(events or 0)
        return found

    def _wait_until_counted(self) -> None:
        """Return when all accepted events are counted. Raises OperatorError after a minute."""
        limit_s = time.perf_counter() + _COUNTED_LIMIT_S
        while self._waiting() > 0:
            if time.perf_counter() > limit_s:
                raise OperatorError(
                    f"{self._waiting():,} events are not counted a minute after the load, see {COUNTER}"
                )
            time.sleep(0.05)


def _steps_table(steps: list[Step]) -> Table:
    table = Table(title="rates tried", title_justify="left", box=None)
    table.add_column("events/s", justify="right")
    table.add_column("waiting at the end", justify="right")
    table.add_column("")
    for step in steps:
        table.add_row(f"{step.rate:,.0f}", f"{step.waiting:,}", "sustained" if step.sustained else step.why)
    return table


def _services_table(used: Mapping[str, tuple[float, float]]) -> Table:
    table = Table(title="in the last round", title_justify="left", box=None)
    table.add_column("process")
    table.add_column("cores", justify="right")
    table.add_column("memory MB", justify="right")
    for name, (cores, megabytes) in used.items():
        table.add_row(name, f"{cores:.2f}", f"{megabytes:,.0f}")
    return table
