"""Processes that are killed or frozen in the middle of a run."""

import asyncio
import signal
import subprocess
from pathlib import Path

import pytest

from tests.contract.offerserver import child
from tests.contract.offerserver.bench import ImportBench, feed, thing, things
from tests.contract.offerserver.killing import ended, start
from tests.contract.storage.api.serving import SharedStorage

BEFORE = things(range(16))
AFTER = feed(
    [
        *(thing(number, temperature=5) for number in range(10)),  # content
        *(thing(number, at=[13.7, 52.7]) for number in range(10, 15)),  # match
        *(thing(number) for number in range(20, 40)),  # new
    ]
)
"""Thing 15 is removed. So it takes four writes: content, removals, and two of new and moved ones."""
WRITES = 4
SEARCH = {
    "owner": "Ada",
    "keywords": ["#thing"],
    "location": {"type": "Point", "coordinates": [13.4002, 52.5]},
    "radiusMeters": 3.1,
}


async def prepare(bench: ImportBench) -> None:
    """Leave storage so that AFTER has removals."""
    await bench.run(BEFORE)
    await bench.run(things(range(15)))
    bench.serve(AFTER)


async def content(bench: ImportBench) -> list[tuple[str, int, tuple[float, ...]]]:
    return [
        (each["extdata"]["id"], each["extdata"]["temperature"], tuple(each["location"]["coordinates"]))
        for each in await bench.offers()
    ]


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_kill_at_every_slice_and_a_second_run_have_the_effect_of_one(
    bench: ImportBench, shared_storage: SharedStorage
) -> None:
    expected = None
    for at in (0, *range(1, WRITES + 1), *range(-WRITES, 0)):
        await bench.http.post("/searches", json=SEARCH)
        await prepare(bench)
        process = start(bench, shared_storage, at, signal.SIGKILL)
        assert await ended(process) == (-signal.SIGKILL if at else 0)
        await asyncio.sleep(child.LEASE_S + 0.2)
        report = await bench.run()
        assert report.grade == "trusted"
        found = await content(bench)
        expected = expected or found
        assert len(found) == 35
        assert found == expected, at
        await bench.until_notified(5)  # the new things within 3 m of the search
        # One of BEFORE and one of AFTER, whichever of the two processes wrote the last slice.
        await bench.until_announced(2)
        await bench.redis.flushdb()
        shared_storage.clear()


@pytest.mark.slow
@pytest.mark.parametrize("at", [-2, 3], ids=["after a write", "between the check of the lease and a write"])
async def test_run_that_is_frozen_past_its_lease_writes_nothing_more(
    bench: ImportBench, shared_storage: SharedStorage, at: int
) -> None:
    await prepare(bench)
    process = start(bench, shared_storage, at, signal.SIGSTOP)
    async with asyncio.timeout(30):
        while state_of(process) != "T":  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.05)
    await asyncio.sleep(child.LEASE_S + 0.5)
    await bench.run(things(range(15), temperature=9))
    expected = await content(bench)
    process.send_signal(signal.SIGCONT)
    assert await ended(process) == child.EXIT_LEASE_LOST
    assert await content(bench) == expected
    assert [each.number for each in await bench.store.history("things")] == [4, 2, 1]


def state_of(process: subprocess.Popen[bytes]) -> str:
    """Return the state of a process, which is T while it is stopped."""
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.slow
async def test_one_of_two_processes_does_a_run(bench: ImportBench, shared_storage: SharedStorage) -> None:
    bench.serve(things(range(40)))
    processes = [start(bench, shared_storage, 0, signal.SIGTERM) for _ in range(2)]
    codes = [await ended(process) for process in processes]
    report, *former = await bench.store.history("things")
    assert codes.count(0) == 1 + len(former)
    assert report.counts.new + sum(each.counts.new for each in former) == 40
    assert len(await bench.ids()) == 40
