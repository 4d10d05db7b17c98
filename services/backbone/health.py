"""Liveness, readiness and metrics on the internal port.

Liveness checks the process alone. Readiness checks the dependencies that the process cannot work without. All other
dependencies are shown beside them and exported as metrics, so that alerts name them (services/README.md).
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.backbone.metrics import HealthMetrics

Check = Callable[[], Awaitable[str]]
"""Returns a detail to show, which may be empty. Raises when the check fails. The error is then the detail."""

Refresh = Callable[[], Awaitable[None]]

_SCRAPE_LIMIT_S = 2.5
"""Time limit for all checks of a scrape, and for its refreshed metrics. It is below the scraper's timeout, even if a
single check may take longer."""


class Health:
    """The state of one process: its checks, and whether it can do its work."""

    def __init__(
        self, required: Mapping[str, Check], *, shown: Mapping[str, Check] | None = None, check_timeout_s: float = 2.0
    ) -> None:
        """Be ready while all `required` checks pass.

        `shown` checks are reported and exported, but do not change readiness.

        All checks run at once. A check that takes longer than `check_timeout_s` has failed.
        """
        self._required = frozenset(required)
        self._checks = {**required, **(shown or {})}
        self._check_timeout_s = check_timeout_s
        self._started: dict[str, asyncio.Task[tuple[bool, str]]] = {}
        """Checks started by a scrape that have not finished."""
        self.starting = False
        """Set while the process listens here but can't accept work yet."""
        self.stopping = False
        """Set at SIGTERM. From then on the process is not ready, so that it receives no new work."""

    async def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Return whether this process can receive work, and the results of its checks."""
        found = await asyncio.gather(*(self._run(check) for check in self._checks.values()))
        results = dict(zip(self._checks, found, strict=True))
        details = {name: {"ok": ok, "detail": detail} for name, (ok, detail) in results.items()}
        ready = self._is_ready({name: ok for name, (ok, _) in results.items()})
        status = "stopping" if self.stopping else "starting" if self.starting else "ready" if ready else "not ready"
        return ready, {"status": status, "checks": details}

    async def observe(self, metrics: HealthMetrics) -> None:
        """Run all checks and set their metrics. A check that does not finish in time counts as failed.

        It continues to run, and does not start again before it has finished.
        """
        for name, check in self._checks.items():
            if name not in self._started:
                self._started[name] = asyncio.create_task(self._run(check))
        started = dict(self._started)
        if started:
            await asyncio.wait(started.values(), timeout=_SCRAPE_LIMIT_S)
        passed = {name: check_task.done() and check_task.result()[0] for name, check_task in started.items()}
        self._started = {name: check_task for name, check_task in self._started.items() if not check_task.done()}
        for name, ok in passed.items():
            metrics.check_ok.labels(name).set(ok)
        metrics.ready.set(self._is_ready(passed))

    def _is_ready(self, passed: Mapping[str, bool]) -> bool:
        return not (self.starting or self.stopping) and all(passed[name] for name in self._required)

    async def _run(self, check: Check) -> tuple[bool, str]:
        try:
            return True, await asyncio.wait_for(check(), self._check_timeout_s)
        except TimeoutError:
            return False, f"no response within {self._check_timeout_s} s"
        except Exception as error:  # noqa: BLE001 - every error of a check is its result
            return False, f"{type(error).__name__}: {error}"


class Heartbeat:
    """A check that fails if the loop of a worker has not called `beat` for too long."""

    def __init__(self, *, limit_s: float) -> None:
        self._limit_s = limit_s
        self._last: float | None = None

    def beat(self) -> None:
        """Record an iteration of the loop. The loop calls it, never another thread or a timer."""
        self._last = asyncio.get_running_loop().time()

    async def check(self) -> str:
        """Raise unless the last iteration is within the limit."""
        if self._last is None:
            raise RuntimeError("the loop has not begun")
        age_s = asyncio.get_running_loop().time() - self._last
        if age_s > self._limit_s:
            raise RuntimeError(f"the loop has not run for {age_s:.0f} s")
        return ""


class Described(Protocol):
    """An application with an OpenAPI description, such as FastAPI."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI description."""


def create_internal_app(
    health: Health,
    registry: CollectorRegistry,
    *,
    public_app: Described | None = None,
    refresh_metrics: Refresh | None = None,
    more_routes: Sequence[Route] = (),
) -> Starlette:
    """Build the application of the internal port: /livez, /readyz, /metrics, and /openapi.json of the public port.

    `more_routes` are routes of this service only.

    `refresh_metrics` is awaited before each read of the metrics. It updates values that other systems hold. After 2.5 s
    it is cancelled, and these metrics keep their values: a system that hangs must not hide the others. The readiness
    checks run as well, so that the metrics show which dependency is down. The metrics include the process itself: its
    start, memory, files and CPU time.

    The application uses Starlette, the base of FastAPI: FastAPI takes 15 MB per process, and workers do not need it
    otherwise.
    """
    health_metrics = HealthMetrics(registry)
    ProcessCollector(registry=registry)

    async def livez(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        ready, body = await health.readiness()
        return JSONResponse(body, status_code=200 if ready else 503)

    async def metrics(_: Request) -> Response:
        await asyncio.gather(health.observe(health_metrics), _refreshed(refresh_metrics))
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    routes = [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics), *more_routes]
    if public_app is not None:
        openapi_of = public_app.openapi

        async def openapi(_: Request) -> Response:
            return JSONResponse(openapi_of())

        routes.append(Route("/openapi.json", openapi))
    return Starlette(routes=routes)


async def _refreshed(refresh: Refresh | None) -> None:
    if refresh is not None:
        with contextlib.suppress(TimeoutError):  # a check reports the system that hangs
            async with asyncio.timeout(_SCRAPE_LIMIT_S):
                await refresh()
