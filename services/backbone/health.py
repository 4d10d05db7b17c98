"""Liveness, readiness and metrics on the internal port.

Liveness asks the process alone. Readiness asks what the process cannot do its work without. All other dependencies are
shown beside it and exported as metrics, so that alerts name them (services/README.md).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.backbone.metrics import HealthMetrics

Check = Callable[[], Awaitable[str]]
"""Returns a detail to show (may be empty), or raises: then the check has failed, and the error is its detail."""

Refresh = Callable[[], Awaitable[None]]

_SCRAPE_LIMIT_S = 2.5
"""What all checks may take when metrics are read: less than a scraper waits, also where checks may take longer."""


class Health:
    """The state of one process: its checks, and whether it can do its work."""

    def __init__(
        self, required: Mapping[str, Check], *, shown: Mapping[str, Check] | None = None, check_timeout_s: float = 2.0
    ) -> None:
        """Be ready while all `required` checks pass. `shown` checks are reported and exported, and change nothing.

        All checks run at once. A check that takes longer than `check_timeout_s` has failed.
        """
        self._required = frozenset(required)
        self._checks = {**required, **(shown or {})}
        self._check_timeout_s = check_timeout_s
        self._asked: dict[str, asyncio.Task[tuple[bool, str]]] = {}
        """Checks that metrics have asked and that have not answered yet."""
        self.starting = False
        """Set by a process that answers here before it can take work, until it can."""
        self.stopping = False
        """Set at SIGTERM: not ready from then on, so that no new work is sent here."""

    async def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Return whether to send work here, and why."""
        found = await asyncio.gather(*(self._run(check) for check in self._checks.values()))
        results = dict(zip(self._checks, found, strict=True))
        details = {name: {"ok": ok, "detail": detail} for name, (ok, detail) in results.items()}
        ready = self._is_ready({name: ok for name, (ok, _) in results.items()})
        status = "stopping" if self.stopping else "starting" if self.starting else "ready" if ready else "not ready"
        return ready, {"status": status, "checks": details}

    async def observe(self, metrics: HealthMetrics) -> None:
        """Ask all checks, and enter what they say; one that has not answered in time counts as failed.

        That one is left to answer in its own time, and is not asked again before it has.
        """
        for name, check in self._checks.items():
            if name not in self._asked:
                self._asked[name] = asyncio.create_task(self._run(check))
        asked = dict(self._asked)
        if asked:
            await asyncio.wait(asked.values(), timeout=_SCRAPE_LIMIT_S)
        passed = {name: asking.done() and asking.result()[0] for name, asking in asked.items()}
        self._asked = {name: asking for name, asking in self._asked.items() if not asking.done()}
        for name, ok in passed.items():
            metrics.check_ok.labels(name).set(ok)
        metrics.ready.set(self._is_ready(passed))

    def _is_ready(self, passed: Mapping[str, bool]) -> bool:
        return not (self.starting or self.stopping) and all(passed[name] for name in self._required)

    async def _run(self, check: Check) -> tuple[bool, str]:
        try:
            return True, await asyncio.wait_for(check(), self._check_timeout_s)
        except TimeoutError:
            return False, f"no answer within {self._check_timeout_s} s"
        except Exception as error:  # noqa: BLE001 - whatever a check raises is its answer
            return False, f"{type(error).__name__}: {error}"


class Heartbeat:
    """A worker's loop says that it turns; a check that fails when it has not for too long."""

    def __init__(self, *, limit_s: float) -> None:
        self._limit_s = limit_s
        self._last: float | None = None

    def beat(self) -> None:
        """Say that the loop turns. Called by the loop itself, never by a thread or timer beside it."""
        self._last = asyncio.get_running_loop().time()

    async def check(self) -> str:
        """Raise unless the loop has turned within the limit."""
        if self._last is None:
            raise RuntimeError("the loop has not begun")
        age_s = asyncio.get_running_loop().time() - self._last
        if age_s > self._limit_s:
            raise RuntimeError(f"the loop has not turned for {age_s:.0f} s")
        return ""


class Described(Protocol):
    """An application that can describe itself, as FastAPI's can."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI description."""


def create_internal_app(
    health: Health,
    registry: CollectorRegistry,
    *,
    public_app: Described | None = None,
    refresh_metrics: Refresh | None = None,
) -> Starlette:
    """Build the application of the internal port: /livez, /readyz, /metrics, and /openapi.json of the public port.

    `refresh_metrics` is awaited before metrics are read, for figures that live elsewhere. Readiness is asked then too,
    so that metrics say which dependency is away. The process itself is in them: its start, memory, files and CPU time.

    Starlette alone, which FastAPI is made of: workers have no other use for FastAPI, and it is 15 MB of each.
    """
    health_metrics = HealthMetrics(registry)
    ProcessCollector(registry=registry)

    async def livez(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        ready, body = await health.readiness()
        return JSONResponse(body, status_code=200 if ready else 503)

    async def metrics(_: Request) -> Response:
        await asyncio.gather(health.observe(health_metrics), refresh_metrics() if refresh_metrics else _nothing())
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    routes = [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)]
    if public_app is not None:
        openapi_of = public_app.openapi

        async def openapi(_: Request) -> Response:
            return JSONResponse(openapi_of())

        routes.append(Route("/openapi.json", openapi))
    return Starlette(routes=routes)


async def _nothing() -> None:
    pass
