"""Send bodies that are expensive to decode. Memory, the latency of GETs and the container's limit must hold.

The short form runs by default and checks memory and statuses. The long form sends all shapes and also checks latency,
so it needs a machine on which nothing else runs (marker `measures`).
"""

import asyncio
import gzip
import json
import re
import socket
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

from deploy.develop.localstack.ports import LOOPBACK
from deploy.develop.localstack.redis import LocalRedis
from tests.contract.memory_cgroup import joined, memory_cgroup
from tests.contract.tracker_load import PacedLoad
from tests.contract.tracker_process import Tracker, read_response, wait_until

CONTAINER_BYTES = 512 * 1024 * 1024
"""`mem_limit` in docker-compose/tracker.yml."""
BATCH_BYTES = 8_388_608
EVENT_BYTES = 262_144
BODY_TIMEOUT_S = 20
AT_ONCE = 12
MOST_GROWTH = 100_000_000
LEFT_OVER = 20_000_000
MOST_P99_MS = 250
"""The goal is 100 ms. On a quiet machine with 2 cores, which also ran Redis and the clients, the median of four runs
was at most 99 ms for each shape, and the slowest run 119 ms (services/tracker/README.md). A busy machine adds to it."""
GETS_PER_S = 200
_JSON = "Content-Type: application/json"
_NDJSON = "Content-Type: application/x-ndjson"
_FORM = "Content-Type: application/x-www-form-urlencoded"
_PARTS = "Content-Type: multipart/form-data; boundary=b"


class Hostile(NamedTuple):
    """A request that is cheap to send and expensive to decode."""

    body: bytes
    headers: tuple[str, ...] = (_JSON,)
    path: str = "/batch"
    statuses: tuple[int, ...] = (413,)
    """The allowed statuses. 503 is always allowed: the tracker sends it when too many such bodies arrive."""

    def request(self) -> bytes:
        head = [f"POST {self.path} HTTP/1.1", "Host: x", *self.headers, f"Content-Length: {len(self.body)}"]
        return "\r\n".join(head).encode() + b"\r\n\r\n" + self.body


def repeated(piece: bytes, between: bytes = b",", size: int = BATCH_BYTES - 100) -> bytes:
    return between.join([piece] * (size // len(piece + between)))


def members(size: int) -> bytes:
    return b"{%s}" % b",".join(b'"%x":0' % n for n in range(size // 11))


def packed(body: bytes, *headers: str, path: str = "/batch", statuses: tuple[int, ...] = (413,)) -> Hostile:
    return Hostile(gzip.compress(body), ("Content-Encoding: gzip", *headers), path, statuses)


def usual_batch(entries: int, size: int) -> bytes:
    return json.dumps(
        [{"type": "view", "params": {"di": f"device-{n}", "q": "x" * size}} for n in range(entries)]
    ).encode()


A_LIST = {
    "objects": repeated(b'{"":0}'),
    "arrays": repeated(b"[1]"),
    "texts": repeated(b'"a"'),
    "numbers": repeated(b"1"),
    "nothing": b"," * (BATCH_BYTES - 100),
}
ENTRY = b'[{"type":"a"},{"type":"b","params":%s},{"type":"c"}]'

SHAPES = {
    **{f"gzip list of {name}": packed(b"[%s]" % entries, _JSON) for name, entries in A_LIST.items()},
    "gzip envelope": packed(b'{"batch":[%s],"sentAt":1}' % A_LIST["objects"], _JSON),
    "gzip lines of {}": packed(repeated(b"{}", b"\n"), _NDJSON),
    "gzip lines of {} without a type": packed(repeated(b"{}", b"\n")),
    "gzip blank lines": packed(repeated(b"\n", b""), _NDJSON, statuses=(200,)),
    "plain list of objects": Hostile(b"[%s]" % A_LIST["objects"]),
    "plain lines of {}": Hostile(repeated(b"{}", b"\n"), (_NDJSON,)),
    "an entry of a million members": packed(ENTRY % members(BATCH_BYTES - 200), _JSON, statuses=(200,)),
    "entries of many members": packed(
        b"[%s]" % repeated(b'{"type":"a","params":{"b":[%s]}}' % repeated(b'{"":0}', size=EVENT_BYTES - 200)),
        _JSON,
        statuses=(200,),
    ),
    "an entry of many arrays": packed(
        ENTRY % (b"[%s]" % repeated(b"[]", size=BATCH_BYTES - 200)), _JSON, statuses=(200,)
    ),
    "an entry of many texts": packed(
        ENTRY % (b"[NaN,%s]" % repeated(b'""', size=BATCH_BYTES - 200)), _JSON, statuses=(200,)
    ),
    "an entry of depth 1,000,000": packed(ENTRY % (b"[" * 1_000_000 + b"]" * 1_000_000), _JSON, statuses=(200,)),
    "an entry of objects of depth 1,000,000": packed(
        ENTRY % (b'{"":' * 1_000_000 + b"0" + b"}" * 1_000_000), _JSON, statuses=(200,)
    ),
    "a list of depth 8,000,000": packed(b"[" * 8_000_000, _JSON, statuses=(400,)),
    "escapes": packed(b'[NaN,"%s"]' % repeated(b"\\n", b""), _JSON, statuses=(200,)),
    "10,000 entries with a long User-Agent": packed(
        b"[%s]" % b",".join([b'{"type":"a"}'] * 10_000), _JSON, "User-Agent: " + "x" * 200_000
    ),
    "10,000 usual entries": Hostile(usual_batch(10_000, 760), statuses=(200,)),
    "a form of 130,000 fields": Hostile(repeated(b"", b"&", EVENT_BYTES - 100), (_FORM, "DNT: 1"), "/a", (200, 413)),
    "a form of 4,000,000 fields": packed(repeated(b"a", b"&"), _FORM, path="/a"),
    "multipart of 29,000 parts": Hostile(
        repeated(b"--b\r\n\r\n\r\n", b"", EVENT_BYTES - 100) + b"--b--\r\n", (_PARTS,), "/a", (200,)
    ),
    "multipart of 900,000 parts": packed(repeated(b"--b\r\n\r\n\r\n", b"") + b"--b--\r\n", _PARTS, path="/a"),
    "an event of 20,000 members": Hostile(members(EVENT_BYTES - 2000), path="/a", statuses=(200, 413)),
    "an event of many arrays": Hostile(
        b'{"a":[%s]}' % repeated(b'{"":0}', size=EVENT_BYTES - 2000), path="/a", statuses=(200,)
    ),
    "an event of 700,000 members": packed(members(BATCH_BYTES - 200), _JSON, path="/a"),
    "an event of depth 1,000,000": packed(b'{"a":' + b"[" * 1_000_000, _JSON, path="/a"),
    "an event of depth 200,000": Hostile(b'{"a":' + b"[" * 200_000, path="/a", statuses=(400,)),
}


@pytest.fixture
def tracker(redis_server: LocalRedis, tmp_path: Path) -> Iterator[Tracker]:
    """Start a tracker with its default settings in a cgroup with the container's limit."""
    with memory_cgroup(CONTAINER_BYTES) as group:
        with joined(group):
            # Tests choose shorter values for these two; here they have their defaults.
            tracker = Tracker(
                redis_server.url, tmp_path, MAX_EVENT_BYTES=str(EVENT_BYTES), TRACKER_BODY_TIMEOUT_S=str(BODY_TIMEOUT_S)
            )
        yield tracker
        if tracker.is_alive:
            assert tracker.end() == 0
        wait_until(lambda: not (group / "cgroup.procs").read_text())


def memory(tracker: Tracker, field: str) -> int:
    status = Path(f"/proc/{tracker.pid}/status").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found, status
    return int(found[1]) * 1024


def send(tracker: Tracker, request: bytes) -> int:
    with socket.create_connection((LOOPBACK, tracker.port), timeout=60) as connection:
        connection.sendall(request)
        return read_response(connection).status


async def attack(tracker: Tracker, hostile: Hostile, load: PacedLoad) -> Counter[int]:
    """Send a body from AT_ONCE clients at the same time while `load` sends GETs. Return the count of each status."""
    loop = asyncio.get_running_loop()
    request = hostile.request()
    with ThreadPoolExecutor(AT_ONCE) as clients:
        attacks = [loop.run_in_executor(clients, send, tracker, request) for _ in range(AT_ONCE)]
        await load.during(2.0)
        while not all(one.done() for one in attacks):
            await load.during(0.5)
        return Counter(await asyncio.gather(*attacks))


async def peak_growth(tracker: Tracker, names: Iterable[str]) -> tuple[int, dict[str, float]]:
    """Attack with each shape. Return the peak growth of memory in bytes, and the p99 of GETs in ms for each shape."""
    assert tracker.ask("POST", "/batch", body=usual_batch(500, 10)).status == 200
    before = memory(tracker, "VmRSS")
    p99_ms = {}
    for name in names:
        load = PacedLoad(tracker, per_s=GETS_PER_S)
        statuses = await attack(tracker, SHAPES[name], load)
        load.close()
        tracker.redis.flushdb()
        assert load.results.errors == [], name
        assert set(statuses) <= {*SHAPES[name].statuses, 503}, name
        p99_ms[name] = load.results.quantile_ms(0.99)
        grown_mb = (memory(tracker, "VmHWM") - before) / 1e6
        print(f"{name}: GET p99 {p99_ms[name]:.0f} ms, memory +{grown_mb:.0f} MB")  # noqa: T201 - the measurement
    growth = memory(tracker, "VmHWM") - before
    wait_until(lambda: memory(tracker, "VmRSS") - before < LEFT_OVER, limit_s=60)
    return growth, p99_ms


async def test_memory_stays_bounded_when_hostile_bodies_arrive(tracker: Tracker) -> None:
    growth, _ = await peak_growth(tracker, ["gzip list of objects", "an event of many arrays"])
    assert growth < MOST_GROWTH


@pytest.mark.slow
@pytest.mark.measures
@pytest.mark.timeout(900)
async def test_memory_and_get_latency_stay_bounded_when_hostile_bodies_of_each_shape_arrive(tracker: Tracker) -> None:
    growth, first_ms = await peak_growth(tracker, SHAPES)
    slow = [name for name, p99 in first_ms.items() if p99 > MOST_P99_MS]
    # A pause of the machine costs one run its p99, which is that of four GETs. The figure is a median.
    repeated = [await peak_growth(tracker, slow) for _ in range(2 if slow else 0)]
    p99_ms = {name: median([first_ms[name], *(again_ms[name] for _, again_ms in repeated)]) for name in slow}
    assert max(growth, *(again for again, _ in repeated), 0) < MOST_GROWTH
    assert {name: p99 for name, p99 in p99_ms.items() if p99 > MOST_P99_MS} == {}
