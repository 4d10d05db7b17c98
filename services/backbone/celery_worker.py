"""The Celery worker of a service, as a process beside the one that watches it."""

import asyncio
import contextlib
import signal
import socket
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Final

from services.backbone.logs import get_logger

log = get_logger(__name__)

SOFT_SHUTDOWN_S: Final = 6.0
"""Seconds that running tasks get at a stop (`worker_soft_shutdown_timeout`). With Celery's own SIGTERM a worker waited
for its task: 11 s."""
STOP_LIMIT_S: Final = SOFT_SHUTDOWN_S + 3.0
"""Seconds that a worker gets to stop: its running tasks, then its own end."""


def worker_name() -> str:
    """Return the name of a new worker. A restarted one has another name, so it gets nothing that the old one left."""
    return f"{socket.gethostname()}-{uuid.uuid4().hex[:6]}"


@contextlib.asynccontextmanager
async def celery_worker(command: Sequence[str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a worker, yield its process, and end it: with SIGTERM, and after STOP_LIMIT_S with SIGKILL."""
    process = await asyncio.create_subprocess_exec(*command)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_LIMIT_S)
        if process.returncode is None:
            log.warning("worker_killed", pid=process.pid)
            process.kill()
            await process.wait()
