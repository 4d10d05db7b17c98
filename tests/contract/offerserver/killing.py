"""Processes that run the importer and get a signal."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from tests.contract.offerserver import child
from tests.contract.offerserver.bench import ImportBench
from tests.contract.storage.api.serving import SharedStorage

ROOT = Path(__file__).parents[3]


def start(bench: ImportBench, shared: SharedStorage, at: int, number: int, *images_url: str) -> subprocess.Popen[bytes]:
    redis = bench.redis.connection_pool.connection_kwargs
    urls = (f"redis://{redis['host']}:{redis['port']}/0", f"http://127.0.0.1:{shared.environ['STORAGE_PORT']}")
    command = [sys.executable, child.__file__, *urls, bench.server.url(), str(at), str(number), *images_url]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})


async def ended(process: subprocess.Popen[bytes]) -> int:
    return await asyncio.to_thread(process.wait, 60)
