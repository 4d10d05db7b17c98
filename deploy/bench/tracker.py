"""bench.tracker and bench.batch: events that a tracker takes, answered when Redis has confirmed them."""

import contextlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from redis import Redis

from deploy.bench import report, results, wrk
from deploy.bench.client import Client, ClientResult
from deploy.bench.machine import Usage, divide
from deploy.bench.references.first import first_process
from deploy.bench.references.nginx import ConstantNginx
from deploy.bench.results import Round
from deploy.bench.rounds import Effort, in_turns
from deploy.bench.waiting import wait_until
from deploy.develop.localstack.ports import LOOPBACK, free_port, is_listening
from deploy.develop.localstack.processes import LocalProcess
from deploy.develop.localstack.redis import LocalRedis
from deploy.develop.localstack.scratch import Scratch
from deploy.develop.localstack.services import ServiceProcess
from deploy.errors import OperatorError
from deploy.interrupts import exit_on_signals
from services.backbone import names

NGINX = "nginx return 200"
FIRST_TRACKER = "FastAPI awaits RPUSH"
BATCH_ENTRIES = 500

_HOST = "trk.example.org"
_TARGET = "/t/open?di=device-7&x=1"
_GET = f"GET {_TARGET} HTTP/1.1\r\nHost: {_HOST}\r\n\r\n".encode()
_PACED_CONNECTIONS = 64
_BATCH_CONNECTIONS = 4


class AcceptedCounter:
    """What a tracker has answered 2xx since it was last asked, as its metrics say."""

    def __init__(self, service: ServiceProcess) -> None:
        self._service = service
        self._told = 0

    def accepted(self) -> int:
        """Return it when nothing is left in the spool: Redis has everything then."""
        wait_until(lambda: self._metric("push_tracker_spool_events") == 0, self._service.process)
        before, self._told = self._told, int(self._metric("push_tracker_events_accepted_total"))
        return self._told - before

    def _metric(self, name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", self._service.metrics(), re.MULTILINE)
        if found is None:
            raise OperatorError(f"the tracker's metrics have no {name}")
        return float(found[1])


class Arena:
    """A Redis, and what is loaded: trackers and references, each on the measured core, one at a time busy."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        """Start nothing but Redis; `stack` stops all."""
        self._stack = stack
        stack.enter_context(exit_on_signals())
        self.cores = divide()
        self.scratch = Scratch(keep_data=False)
        stack.callback(self.scratch.close)
        self.server = LocalRedis(data=self.scratch.data / "redis", log=self.scratch.logs / "redis.log")
        stack.callback(self.server.process.stop)
        self.server.start()
        self.server.wait_ready()
        self._redis = Redis.from_url(self.server.url)
        stack.callback(self._redis.close)

    def start_tracker(self) -> "UnderLoad":
        """Start a tracker as it is deployed: with a spool, and its Redis appending to a file."""
        port = free_port()
        service = ServiceProcess(
            "tracker",
            label="tracker",
            logs=self.scratch.logs,
            within=self.cores.within,
            env={
                "REDIS_URL": self.server.url,
                "TRACKER_PORT": str(port),
                "TRACKER_SPOOL_DIRECTORY": str(self.scratch.data / "spool"),
                "LOG_FORMAT": "json",
            },
        )
        self._stack.callback(service.stop)
        service.start()
        service.wait_until_ready()
        return UnderLoad(service.process, port, partial(self._missing, AcceptedCounter(service)))

    def start_nginx(self) -> "UnderLoad":
        """Start nginx that answers with a constant."""
        nginx = ConstantNginx(self.scratch.data / "nginx", within=self.cores.within)
        return self._start_reference(nginx, nginx.port)

    def start_first_tracker(self) -> "UnderLoad":
        """Start the tracker that one would write first."""
        port = free_port()
        process = first_process("tracker", str(port), self.server.url, within=self.cores.within, logs=self.scratch.logs)
        return self._start_reference(process, port)

    def _start_reference(self, process: LocalProcess, port: int) -> "UnderLoad":
        self._stack.callback(process.stop)
        process.start()
        process.wait_until(lambda: is_listening(port), timeout_s=30)
        return UnderLoad(process, port, self._forget)

    def _missing(self, tracker: AcceptedCounter, answered: int) -> int:
        """Count what was answered and is not in the tracker's list, and empty the Redis.

        The tracker tells what it answered 2xx in all, also what wrk had no time left to read: all of it must be there.
        """
        accepted = tracker.accepted()
        stored: Any = self._redis.llen(names.RAW_EVENTS_LIST)
        ledger: Any = self._redis.hget(names.LEDGER, "accepted") or 0
        self._redis.flushall()
        return abs(accepted - min(int(stored), int(ledger))) + max(0, answered - accepted)

    def _forget(self, answered: int) -> int:  # noqa: ARG002 - what a reference loses is not asked
        self._redis.flushall()
        return 0


class UnderLoad:
    """A process that answers tracking requests, and what loading it costs and loses."""

    def __init__(self, process: LocalProcess, port: int, missing: Callable[[int], int]) -> None:
        """`missing` is told how many events were answered, says how many are nowhere, and empties the store."""
        self._process = process
        self._port = port
        self._missing = missing

    def at_full_speed(self, seconds: float) -> Round:
        """BenchLoad it with GETs as fast as it answers. What is in flight at the end counts as not answered."""
        usage = Usage([self._process.pid])
        ran = wrk.run(f"http://{LOOPBACK}:{self._port}{_TARGET}", seconds=seconds)
        return self._round(usage, Round(rate=ran.rate), answered=ran.requests)

    def paced(self, rate: float, seconds: float) -> Round:
        """BenchLoad it with GETs at a fixed rate; one that is refused counts as lost."""
        usage = Usage([self._process.pid])
        with Client(self._port, connections=_PACED_CONNECTIONS) as client:
            answers = client.at_fixed_rate([_GET], rate=rate, seconds=seconds)
        return self._round(usage, _measured(answers, events=1), answered=answers.answered)

    def batches(self, seconds: float) -> Round:
        """BenchLoad /batch as fast as it answers; the rate is that of events."""
        usage = Usage([self._process.pid])
        with Client(self._port, connections=_BATCH_CONNECTIONS) as client:
            answers = client.as_fast_as_answered([_batch()], seconds=seconds)
        return self._round(usage, _measured(answers, events=BATCH_ENTRIES), answered=answers.answered * BATCH_ENTRIES)

    def _round(self, usage: Usage, found: Round, *, answered: int) -> Round:
        cpu_us = 1e6 * usage.cpu_s() / answered if answered else None
        lost = found.lost + self._missing(answered)
        return replace(found, lost=lost, cpu_us_per_event=cpu_us, rss_mb=usage.rss_mb())


def _measured(answers: ClientResult, *, events: int) -> Round:
    rate = answers.answered * events / answers.seconds
    return results.latency_round(answers.latencies_s, rate=rate, lost=answers.refused * events)


def _batch() -> bytes:
    """Make a batch as an app sends it: some 60 bytes an entry."""
    entries = [
        {"type": "view", "params": {"di": f"device-{n % 50}", "n": n, "page": "results"}} for n in range(BATCH_ENTRIES)
    ]
    body = json.dumps(entries).encode()
    head = ["POST /batch HTTP/1.1", f"Host: {_HOST}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


def bench_tracker(effort: Effort, *, json_output: bool) -> int:
    """Measure GETs at full speed and, at half of that, their latency. Returns the exit code."""
    output = report.console(json_output=json_output)
    with contextlib.ExitStack() as stack:
        arena = Arena(stack)
        tracker, nginx, first = arena.start_tracker(), arena.start_nginx(), arena.start_first_tracker()
        contenders = {
            "tracker": tracker.at_full_speed,
            NGINX: nginx.at_full_speed,
            FIRST_TRACKER: first.at_full_speed,
        }
        full = in_turns(contenders, effort, output)
        half = (results.median([found.rate for found in full["tracker"]]) or 0.0) / 2
        paced = in_turns({"tracker": partial(tracker.paced, half), NGINX: partial(nginx.paced, half)}, effort, output)
    speed = results.summed_up("tracker", full["tracker"], {name: full[name] for name in (NGINX, FIRST_TRACKER)})
    at_half = results.summed_up("tracker", paced["tracker"], {})
    found = replace(
        speed,
        p50_ms=at_half.p50_ms,
        p99_ms=at_half.p99_ms,
        p999_ms=at_half.p999_ms,
        lost=speed.lost + at_half.lost,
    )
    tables = [
        results.table(f"GET, {wrk.CONNECTIONS} connections, as fast as answered", full),
        results.table(f"GET at half of that, {half:,.0f} a second at fixed times", paced),
    ]
    return report.report(found, tables, output, effort, json_output=json_output)


def bench_batch(effort: Effort, *, json_output: bool) -> int:
    """Measure batches of 500 at full speed. Returns the exit code."""
    output = report.console(json_output=json_output)
    with contextlib.ExitStack() as stack:
        arena = Arena(stack)
        contenders = {
            "batch": arena.start_tracker().batches,
            FIRST_TRACKER: arena.start_first_tracker().batches,
        }
        rows = in_turns(contenders, effort, output)
    found = results.summed_up("batch", rows["batch"], {FIRST_TRACKER: rows[FIRST_TRACKER]})
    title = f"POST /batch with {BATCH_ENTRIES} entries, {_BATCH_CONNECTIONS} connections, as fast as answered"
    return report.report(found, [results.table(title, rows)], output, effort, json_output=json_output)
