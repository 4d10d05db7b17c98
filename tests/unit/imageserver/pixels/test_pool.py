import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from services.imageserver.core.limits import PictureLimits
from services.imageserver.metrics import Metrics
from services.imageserver.pixels import worker
from services.imageserver.pixels.pool import PicturePool, PoolSize


def record_process(directory: Path) -> None:
    (directory / str(os.getpid())).touch()


def recorded(directory: Path) -> int:
    return len(list(directory.iterdir()))


async def test_start_waits_for_each_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "os", SimpleNamespace(getpid=partial(record_process, tmp_path)))
    size = PoolSize(workers=4, queue=1, queue_timeout_s=1, work_timeout_s=30, worker_mb=300)
    limits = PictureLimits(1_000_000, 1_000_000, 10)
    async with PicturePool(size, limits, Metrics(CollectorRegistry())) as started:
        assert recorded(tmp_path) == 4
        assert await started.check() == "4 of 4 idle"
