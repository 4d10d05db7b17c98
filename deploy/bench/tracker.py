"""bench.tracker and bench.batch: events that a tracker acknowledges after Redis has confirmed them."""

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
    """Counts the events that a tracker acknowledged since the last call, from its metrics."""

    def __init__(self, service: ServiceProcess) -> None:
        self._service = service
        self._reported = 0

    def accepted(self) -> int:
        """Return the count when the spool is empty: Redis then has all events."""
        wait_until(lambda: self._metric("push_tracker_spool_events") == 0, self._service.process)
        before, self._reported = self._reported, int(self._metric("push_tracker_events_accepted_total"))
        return self._reported - before

    def _metric(self, name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", self._service.metrics(), re.MULTILINE)
        if found is None:
            raise OperatorError(f"the tracker's metrics have no {name}")
        return float(found[1])


class Arena:
    """A Redis, and trackers and references on the measured core. One of them is busy at a time."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        """Start only Redis. `stack` stops everything."""
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
        """Start a tracker as in production: with a spool, and an append-only file of its Redis."""
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
        """Start nginx with a constant response."""
        nginx = ConstantNginx(self.scratch.data / "nginx", within=self.cores.within)
        return self._start_reference(nginx, nginx.port)

    def start_first_tracker(self) -> "UnderLoad":
        """Start the simple tracker."""
        port = free_port()
        process = first_process("tracker", str(port), self.server.url, within=self.cores.within, logs=self.scratch.logs)
        return self._start_reference(process, port)

    def _start_reference(self, process: LocalProcess, port: int) -> "UnderLoad":
        self._stack.callback(process.stop)
        process.start()
        process.wait_until(lambda: is_listening(port), timeout_s=30)
        return UnderLoad(process, port, self._empty)

    def _missing(self, tracker: AcceptedCounter, acknowledged: int) -> int:
        """Return how many acknowledged events are missing in the tracker's list, and empty the Redis.

        The tracker's metric includes responses that wrk had no time to read: all of them must be stored.
        """
        accepted = tracker.accepted()
        stored: Any = self._redis.llen(names.RAW_EVENTS_LIST)
        ledger: Any = self._redis.hget(names.LEDGER, "accepted") or 0
        self._redis.flushall()
        return abs(accepted - min(int(stored), int(ledger))) + max(0, acknowledged - accepted)

    def _empty(self, acknowledged: int) -> int:  # noqa: ARG002 - the loss of a reference is not measured
        self._redis.flushall()
        return 0


class UnderLoad:
    """A server process under load, with its measurements."""

    def __init__(self, process: LocalProcess, port: int, missing: Callable[[int], int]) -> None:
        """`missing` takes the number of acknowledged events, returns how many are missing, and empties the store."""
        self._process = process
        self._port = port
        self._missing = missing

    def at_full_speed(self, seconds: float) -> Round:
        """Send GETs as fast as it responds. Requests in flight at the end count as not acknowledged."""
        usage = Usage([self._process.pid])
        ran = wrk.run(f"http://{LOOPBACK}:{self._port}{_TARGET}", seconds=seconds)
        return self._round(usage, Round(rate=ran.rate), acknowledged=ran.requests)

    def paced(self, rate: float, seconds: float) -> Round:
        """Send GETs at a fixed rate. A request without a response 200 counts as lost."""
        usage = Usage([self._process.pid])
        with Client(self._port, connections=_PACED_CONNECTIONS) as client:
            responses = client.at_fixed_rate([_GET], rate=rate, seconds=seconds)
        return self._round(usage, _measured(responses, events=1), acknowledged=responses.acknowledged)

    def batches(self, seconds: float) -> Round:
        """Send POST /batch as fast as it responds. The rate is events a second."""
        usage = Usage([self._process.pid])
        with Client(self._port, connections=_BATCH_CONNECTIONS) as client:
            responses = client.at_full_speed([_batch()], seconds=seconds)
        return self._round(
            usage, _measured(responses, events=BATCH_ENTRIES), acknowledged=responses.acknowledged * BATCH_ENTRIES
        )

    def _round(self, usage: Usage, found: Round, *, acknowledged: int) -> Round:
        cpu_us = 1e6 * usage.cpu_s() / acknowledged if acknowledged else None
        lost = found.lost + self._missing(acknowledged)
        return replace(found, lost=lost, cpu_us_per_event=cpu_us, rss_mb=usage.rss_mb())


def _measured(responses: ClientResult, *, events: int) -> Round:
    rate = responses.acknowledged * events / responses.seconds
    return results.latency_round(responses.latencies_s, rate=rate, lost=responses.refused * events)


def _batch() -> bytes:
    """Return a batch as an app sends it, with about 60 bytes per entry."""
    entries = [
        {"type": "view", "params": {"di": f"device-{n % 50}", "n": n, "page": "results"}} for n in range(BATCH_ENTRIES)
    ]
    body = json.dumps(entries).encode()
    head = ["POST /batch HTTP/1.1", f"Host: {_HOST}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


def bench_tracker(effort: Effort, *, json_output: bool) -> int:
    """Measure GETs at full speed, and their latency at half of it. Returns the exit code."""
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
        results.table(f"GET, {wrk.CONNECTIONS} connections, as fast as possible", full),
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
    title = f"POST /batch with {BATCH_ENTRIES} entries, {_BATCH_CONNECTIONS} connections, as fast as possible"
    return report.report(found, [results.table(title, rows)], output, effort, json_output=json_output)
