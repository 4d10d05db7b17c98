import asyncio
import multiprocessing
import os
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from services.imageserver.pixels.worker import WorkerDied, WorkerProcess


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


async def test_repair_replaces_a_dead_process(worker: WorkerProcess) -> None:
    dead = await worker.call(os.getpid, timeout_s=60)
    psutil.Process(dead).kill()
    await asyncio.sleep(1)
    await worker.repair()
    assert await worker.call(os.getpid, timeout_s=60) != dead
