import asyncio
import contextlib
import hashlib
import multiprocessing
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from pebble import ProcessPool

from services.imageserver.pixels.worker import WorkerDied, WorkerProcess


def one_long_call_of_a_library() -> bytes:
    """Run one call in C for minutes: no handler of Python runs before its end, as in a decoder."""
    return hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 1_000_000_000)


def kill_oneself() -> None:
    os.kill(os.getpid(), 9)


@pytest.fixture
async def worker() -> AsyncIterator[WorkerProcess]:
    worker = WorkerProcess(300, multiprocessing.get_context("forkserver"))
    await worker.call(os.getpid, timeout_s=60)
    yield worker
    await worker.aclose()


async def test_call_returns_its_result_or_error(worker: WorkerProcess, tmp_path: Path) -> None:
    assert await worker.call(divmod, 7, 2, timeout_s=60) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await worker.call(divmod, 7, 0, timeout_s=60)
    with pytest.raises(FileNotFoundError):
        await worker.call(os.stat, str(tmp_path / "none"), timeout_s=60)


async def test_worker_continues_when_its_process_dies_in_a_call(worker: WorkerProcess) -> None:
    with pytest.raises(WorkerDied):
        await worker.call(kill_oneself, timeout_s=60)
    assert await worker.call(divmod, 7, 2, timeout_s=60) == (3, 1)


@pytest.mark.parametrize("pause_s", [0, 1])
async def test_worker_continues_when_its_process_dies_while_it_is_idle(worker: WorkerProcess, pause_s: float) -> None:
    psutil.Process(await worker.call(os.getpid, timeout_s=60)).kill()
    await asyncio.sleep(pause_s)  # pebble notices it within 0.1 s, or in the call
    with pytest.raises(WorkerDied):
        await worker.call(divmod, 7, 2, timeout_s=60)
    assert await worker.call(divmod, 7, 2, timeout_s=60) == (3, 1)


async def test_worker_continues_when_its_process_hangs_before_a_call(worker: WorkerProcess) -> None:
    psutil.Process(await worker.call(os.getpid, timeout_s=60)).suspend()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await worker.call(divmod, 7, 2, timeout_s=60)
    with contextlib.suppress(TimeoutError):  # while it starts again; the start continues
        async with asyncio.timeout(0.001):
            await worker.call(divmod, 7, 2, timeout_s=60)
    assert await worker.call(divmod, 7, 2, timeout_s=60) == (3, 1)


async def test_repair_replaces_a_dead_process(worker: WorkerProcess) -> None:
    dead = await worker.call(os.getpid, timeout_s=60)
    psutil.Process(dead).kill()
    await asyncio.sleep(1)
    worker.repair()
    assert await worker.call(os.getpid, timeout_s=60) != dead


async def test_process_over_its_time_is_killed_at_once_and_delays_no_other_worker(worker: WorkerProcess) -> None:
    other = WorkerProcess(300, multiprocessing.get_context("forkserver"))
    await other.call(os.getpid, timeout_s=60)
    begun_s = time.monotonic()
    endless = asyncio.create_task(worker.call(one_long_call_of_a_library, timeout_s=1))
    longest_s = 0.0
    while not endless.done():
        call_s = time.monotonic()
        await other.call(divmod, 7, 2, timeout_s=60)
        longest_s = max(longest_s, time.monotonic() - call_s)
        await asyncio.sleep(0.05)
    with pytest.raises(TimeoutError):
        await endless
    assert time.monotonic() - begun_s < 3.5  # it was 4 s at least with the SIGKILL of pebble after 3 s
    assert longest_s < 1
    assert await worker.call(divmod, 7, 2, timeout_s=60) == (3, 1)
    await other.aclose()


async def test_reason_why_a_worker_cannot_start_is_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def schedule(*_: object, **__: object) -> None:
        raise RuntimeError from FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(ProcessPool, "schedule", schedule)
    with pytest.raises(WorkerDied, match=r"cannot start: FileNotFoundError.*no usable temporary directory"):
        await WorkerProcess(300, multiprocessing.get_context("forkserver")).start()
