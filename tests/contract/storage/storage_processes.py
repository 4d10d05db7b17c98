"""Processes of storage with one database, and what tests read of them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from deploy.develop.localstack.ports import LOOPBACK, free_port
from deploy.develop.localstack.services import ServiceProcess


def storage_process(logs: Path, *, mongo_url: str, database: str, notify_url: str, **changed: str) -> ServiceProcess:
    """Return a process of storage, which is not started. Its events stay owed, because no tracker listens."""
    environ = {
        "STORAGE_PORT": str(free_port()),
        "STORAGE_MONGO_URL": mongo_url,
        "STORAGE_DATABASE": database,
        "STORAGE_TRACKER_URL": f"http://{LOOPBACK}:9",
        "STORAGE_NOTIFY_URL": notify_url,
        **changed,
    }
    return ServiceProcess("storage", label=f"storage-{environ['STORAGE_PORT']}", logs=logs, env=environ)


@contextlib.contextmanager
def running(*processes: ServiceProcess) -> Iterator[None]:
    """Run processes until the block ends."""
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.wait_until_ready()
        yield
    finally:
        for process in processes:
            process.kill()


def client_of(process: ServiceProcess) -> httpx.AsyncClient:
    """Return a client of the public port, with a connection for each request.

    The server closes a kept connection after 5 s. On a busy machine that meets the next request of a test.
    """
    url = f"http://{LOOPBACK}:{process.env['STORAGE_PORT']}"
    return httpx.AsyncClient(base_url=url, timeout=30.0, limits=httpx.Limits(max_keepalive_connections=0))


def metric(process: ServiceProcess, line: str) -> float:
    """Return the value of a line of the metrics."""
    text = httpx.get(f"{process.internal_url}/metrics").text
    return float(next(each for each in text.splitlines() if each.startswith(line)).rpartition(" ")[2])


def body(owner: str, keyword: str, **changed: Any) -> dict[str, Any]:
    """Return the request of an object in Berlin."""
    point = {"type": "Point", "coordinates": [13.4, 52.5]}
    return {"owner": owner, "keywords": [keyword], "location": point, "radiusMeters": 500, **changed}
