"""Processes that a test kills: storage, which can kill itself at a named point of its work, and the servers it calls.

A server with all imports done forks them, so that a start takes a tenth of a second. The code of the service is
unchanged: this module replaces some constants and methods in these processes only.
"""

import asyncio
import json
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final, Literal, NoReturn
from urllib.parse import parse_qsl

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from deploy.develop.localstack.die_with_parent import die_with
from services.backbone.process import http_server, run_until_stopped
from services.storage.__main__ import create_loops
from services.storage.app import Loops, run
from services.storage.metrics import ApiMetrics
from services.storage.settings import Settings
from services.storage.store import Database, ObjectStore, candidates
from services.storage.worker import matching

Point = Literal[
    "object_written", "decided", "pairs_written", "slice_matched", "before_finish", "notified", "sent", "never"
]
POINTS: Final[tuple[Point, ...]] = (
    "object_written",
    "decided",
    "pairs_written",
    "slice_matched",
    "before_finish",
    "notified",
    "sent",
)
"""object_written: after the write of a change, before its response. notified and sent: after the request to the
notificationserver or the tracker, before the note of it."""
SLICE: Final = 16
"""The candidates of a slice in the processes of these tests. A fan-out of 40 then has several slices."""

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload([__name__])


def start_storage(environ: Mapping[str, str], log: Path, point: Point = "never", passes: int = 1) -> BaseProcess:
    """Start a storage that is killed when it reaches `point` for the `passes`-th time."""
    return _start(_storage, dict(environ), log, point, passes)


def start_end(port: int, received: Path, log: Path) -> BaseProcess:
    """Start a server that stores what it gets in a file: notifications and events. It responds after the write."""
    return _start(_end, port, received, log)


def _start(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    process = _forks.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def _storage(environ: dict[str, str], log: Path, point: Point, passes: int) -> None:
    _begin(log)
    vars(candidates)["SLICE"] = vars(matching)["SLICE"] = SLICE
    passed: Counter[str] = Counter()

    def at_point(name: str) -> None:
        passed[name] += 1
        if name == point and passed[name] == passes:
            _die()

    _watch_writes(partial(at_point, "object_written"))
    settings = Settings.from_env(environ)

    @asynccontextmanager
    async def loops(database: Database, registry: CollectorRegistry, metrics: ApiMetrics) -> AsyncIterator[Loops]:
        async with create_loops(settings, database, registry, metrics, at_point=at_point) as created:
            yield created

    run_until_stopped(lambda stop: run(settings, stop, loops), settings, service="storage")


def _watch_writes(on_write: Callable[[], None]) -> None:
    insert, replace = ObjectStore.insert, ObjectStore.replace

    async def watched_insert(self: ObjectStore, *values: Any, **options: Any) -> None:
        await insert(self, *values, **options)
        on_write()

    async def watched_replace(self: ObjectStore, *values: Any, **options: Any) -> bool:
        is_written = await replace(self, *values, **options)
        on_write()
        return is_written

    ObjectStore.insert = watched_insert  # type: ignore[method-assign]
    ObjectStore.replace = watched_replace  # type: ignore[method-assign]


def _end(port: int, received: Path, log: Path) -> None:
    _begin(log)
    asyncio.run(_serve_end(port, received))


async def _serve_end(port: int, received: Path) -> None:
    """Serve until killed. A kill of the process does not lose what is in the page cache."""
    with received.open("ab", buffering=0) as file:

        async def notify(request: Request) -> Response:
            body = json.loads(await request.body())
            assert request.headers["idempotency-key"] == body["id"]
            file.write(body["id"].encode() + b"\n")
            return Response(status_code=202)

        async def track(request: Request) -> Response:
            params = dict(parse_qsl((await request.body()).decode()))
            event_id = request.headers["idempotency-key"]
            assert event_id.startswith(params["_id"])
            file.write(b"event " + event_id.encode() + b"\n")
            return Response(status_code=204)

        app = Starlette(
            routes=[Route("/notify", notify, methods=["POST"]), Route("/w/{type}", track, methods=["POST"])]
        )
        async with http_server(app, host="127.0.0.1", port=port):
            await asyncio.Event().wait()


def _begin(log: Path) -> None:
    die_with(os.getppid())
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("killed")
