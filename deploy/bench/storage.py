"""bench.storage: mixed requests (80 % reads) at the highest rate at which nothing piles up.

storage has a core of its own. MongoDB, the load and the stub of the tracker share the other one.
"""

import json
import shutil
import sys
import tempfile
import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families
from pymongo import MongoClient
from rich.console import Console
from rich.table import Table

from deploy.bench.accepting import accepting_server
from deploy.bench.client import Client, ClientResult
from deploy.bench.machine import Cores, Usage, divide
from deploy.bench.report import console
from deploy.bench.results import quantile
from deploy.bench.storage_requests import StorageRequests
from deploy.develop.localstack.mongo import MongoServer
from deploy.develop.localstack.ports import LOOPBACK, free_port, is_listening
from deploy.develop.localstack.processes import LocalProcess
from deploy.errors import OperatorError
from deploy.paths import ROOT

_USER: Final = "storage"
_PASSWORD: Final = "a password of the bench"  # noqa: S105 - of a server that only this process reaches
_DATABASE: Final = "bench_storage"
_CONNECTIONS: Final = 64
_REQUESTS: Final = 20_000
_FIRST_RATE: Final = 50.0
_STEP_S: Final = 8.0
_FINER: Final = 3
_SHORTEST_S: Final = 5.0
"""A shorter load shows only that there is no error."""
_MOST_LATE_S: Final = 0.5
_MOST_WAITING_S: Final = 1.0
"""The changes of this time may wait for the matcher or the tracker at the end of the load."""
_WRITE_SHARE: Final = 0.2
_OWN_LIMIT_S: Final = 0.005
_OWN: Final = "push_storage_request_own_seconds_bucket"
_WAITING: Final = ("push_storage_due_objects", "push_storage_owed_events", "push_storage_owed_encounters")
_READY_S: Final = 120.0


@dataclass(frozen=True)
class StorageLoad:
    """The results at one rate."""

    rate: float
    p50_ms: float
    p99_ms: float
    own_p99_ms: float
    """Upper bound: the bucket of the metric that contains the quantile."""
    cpu_ms: float
    """User and system time of storage for a request, with the matching and the events of its changes."""
    errors: int
    waiting: int
    """Due objects, owed events and owed encounters after the load."""
    why: str
    """Why the rate is not sustained; empty: it is."""


def bench_storage(*, size: str, seconds: str, json_output: bool) -> int:
    """Measure mixed requests among `size` offers and searches. Returns 1 for an error or a slow own share."""
    try:
        number, duration_s = int(size), float(seconds)
    except ValueError:
        raise OperatorError(f"--size {size} --seconds {seconds}: use numbers") from None
    if not (100 <= number <= 1_000_000 and 1.0 <= duration_s <= 600.0):  # noqa: PLR2004 - limits
        raise OperatorError("use --size from 100 to 1000000 and --seconds from 1 to 600")
    output = console(json_output=json_output)
    cores = divide()
    memory = Path("/dev/shm")  # noqa: S108 - a disk would be measured otherwise; the data is removed at the end
    has_room = memory.is_dir() and shutil.disk_usage(memory).free > 2**30 + 5_000 * number
    data = Path(tempfile.mkdtemp(prefix="push-storage-", dir=memory if has_room else None))
    requests = StorageRequests(number, user=_USER, password=_PASSWORD)
    mongo = MongoServer("mongod", data=data / "mongo", log=data / "mongo.log", say=output.print)
    other = free_port()
    accepting = accepting_server(other, data / "accepting.log")
    storage = _storage_process(mongo.url, other, cores, data / "storage.log")
    try:
        mongo.start()
        mongo.wait_ready()
        _fill(mongo.url, requests.documents(), output)
        accepting.start()
        accepting.wait_until(lambda: is_listening(other), timeout_s=20)
        storage.start()
        storage.wait_until(lambda: _is_ready(storage), timeout_s=_READY_S)
        loads = _find_highest(storage, requests.prepared(_REQUESTS), duration_s, output)
    finally:
        storage.stop()
        accepting.stop()
        mongo.process.stop()
        shutil.rmtree(data)
    return _report(loads, number, output, is_brief=duration_s < _SHORTEST_S, json_output=json_output)


def _storage_process(mongo_url: str, other: int, cores: Cores, log: Path) -> LocalProcess:
    env = {
        "STORAGE_MONGO_URL": mongo_url,
        "STORAGE_DATABASE": _DATABASE,
        "STORAGE_PORT": str(free_port()),
        "INTERNAL_PORT": str(free_port()),
        "STORAGE_USER": _USER,
        "STORAGE_PASSWORD": _PASSWORD,
        # A changed object waits this long for its event. Nothing sends events here.
        "MATCH_GRACE_S": "0.1",
        "STORAGE_TRACKER_URL": f"http://{LOOPBACK}:{other}",
        "STORAGE_NOTIFY_URL": f"http://{LOOPBACK}:{other}",
    }
    command = [*cores.within, sys.executable, "-m", "services.storage"]
    return LocalProcess("storage", command, log=log, env=env, cwd=ROOT)


def _fill(mongo_url: str, documents: Iterable[dict[str, Any]], output: Console) -> None:
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_url)
    rest = iter(documents)
    with client, output.status("filling MongoDB"):
        while chunk := list(islice(rest, 5_000)):
            for name in ("offers", "searches"):
                client[_DATABASE][name].insert_many([dict(each) for each in chunk], ordered=False)


def _find_highest(storage: LocalProcess, requests: list[bytes], seconds: float, output: Console) -> list[StorageLoad]:
    """Double the rate until something piles up, search between the last two rates, then load at the highest one."""
    loads: list[StorageLoad] = []
    with Client(int(storage.env["STORAGE_PORT"]), connections=_CONNECTIONS) as client:

        def sustained(rate: float, duration_s: float) -> bool:
            load = _load(storage, client, requests, rate, duration_s)
            loads.append(load)
            output.print(f"{rate:8,.0f} requests/s for {duration_s:.0f} s: {load.why or 'sustained'}")
            return not load.why

        client.at_fixed_rate(requests, rate=_FIRST_RATE, seconds=2.0)  # fills the caches
        step_s = min(_STEP_S, seconds)
        lower, upper = 0.0, _FIRST_RATE
        if seconds < _SHORTEST_S:
            sustained(upper, seconds)
            return loads
        while sustained(upper, step_s):
            lower, upper = upper, 2.0 * upper
        for _ in range(_FINER if lower else 0):
            middle = (lower + upper) / 2.0
            lower, upper = (middle, upper) if sustained(middle, step_s) else (lower, middle)
        # A short load can pass where a long one does not.
        while lower and not sustained(lower, seconds):
            lower *= 0.9
    return loads


def _load(storage: LocalProcess, client: Client, requests: list[bytes], rate: float, seconds: float) -> StorageLoad:
    before, usage = _metrics(storage), Usage([storage.pid])
    found = client.at_fixed_rate(requests, rate=rate, seconds=seconds)
    after = _metrics(storage)
    waiting = int(sum(after[name] for name in _WAITING))
    ordered = sorted(found.latencies_s)
    return StorageLoad(
        rate=rate,
        p50_ms=1000 * (quantile(ordered, 0.5) or 0.0),
        p99_ms=1000 * (quantile(ordered, 0.99) or 0.0),
        own_p99_ms=1000 * own_quantile(before, after, 0.99),
        cpu_ms=1000 * usage.cpu_s() / max(1, found.acknowledged),
        errors=found.refused,
        waiting=waiting,
        why=_why(found, waiting, rate),
    )


def _why(found: ClientResult, waiting: int, rate: float) -> str:
    if found.refused:
        return f"{found.refused:,} requests got no response 200"
    if found.late_s > _MOST_LATE_S:
        return f"requests waited up to {found.late_s:.1f} s for a free connection"
    if waiting > _WRITE_SHARE * rate * _MOST_WAITING_S + 10:
        return f"{waiting:,} changes wait for their matching or their event"
    return ""


def own_quantile(before: Mapping[str, float], after: Mapping[str, float], part: float) -> float:
    """Return the bound in seconds of the bucket with the quantile of storage's own time, over all methods."""
    counts = {name: after[name] - before.get(name, 0.0) for name in after if name.startswith(_OWN)}
    bounds: dict[float, float] = {}
    for name, count in counts.items():
        bound = float(name.rpartition("le=")[2])
        bounds[bound] = bounds.get(bound, 0.0) + count
    total = bounds.get(float("inf"), 0.0)
    return min((bound for bound, count in bounds.items() if count >= part * total), default=float("inf"))


def _metrics(storage: LocalProcess) -> dict[str, float]:
    """Return the metrics by name, and the buckets by name, method and `le`."""
    with urllib.request.urlopen(f"http://{LOOPBACK}:{storage.env['INTERNAL_PORT']}/metrics", timeout=30) as response:
        text = response.read().decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name
            if name == _OWN:
                name = f"{name} {sample.labels['method']} le={sample.labels['le']}"
            found[name] = sample.value
    return found


def _is_ready(storage: LocalProcess) -> bool:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{storage.env['INTERNAL_PORT']}/readyz", timeout=5) as response:
            return bool(response.status == 200)  # noqa: PLR2004 - OK
    except OSError:
        return False


def _report(loads: list[StorageLoad], size: int, output: Console, *, is_brief: bool, json_output: bool) -> int:
    table = Table(title=f"mixed requests among {size:,} offers and searches", title_justify="left", box=None)
    for column in ("requests/s", "p50 ms", "p99 ms", "own p99 ms, at most", "CPU ms", "errors", "waiting"):
        table.add_column(column, justify="right")
    table.add_column("")
    for each in loads:
        numbers = (
            f"{each.rate:,.0f}",
            f"{each.p50_ms:.1f}",
            f"{each.p99_ms:.1f}",
            f"{each.own_p99_ms:g}",
            f"{each.cpu_ms:.2f}",
        )
        table.add_row(*numbers, f"{each.errors:,}", f"{each.waiting:,}", each.why)
    output.print(table)
    last = loads[-1]
    is_slow = last.own_p99_ms > 1000 * _OWN_LIMIT_S
    if is_brief:
        output.print("brief: only the number of errors is meaningful", style="dim")
    elif is_slow:
        output.print(f"storage's own time has a p99 of over {1000 * _OWN_LIMIT_S:g} ms", style="bold red")
    if json_output:
        sys.stdout.write(json.dumps({"name": "storage", **asdict(last)}) + "\n")
    return int(any(each.errors for each in loads) or (not is_brief and (bool(last.why) or is_slow)))
