import asyncio

import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Gauge
from starlette.applications import Starlette
from starlette.routing import Route

from services.backbone import health as health_module
from services.backbone.health import Health, Heartbeat, create_internal_app


async def fine() -> str:
    return "all well"


async def broken() -> str:
    raise ConnectionError("no route")


async def silent() -> str:
    await asyncio.sleep(60)
    return ""


async def get(app: Starlette, path: str) -> tuple[int, bytes]:
    """Send one request without a server."""
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b""}

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"", "http_version": "1.1"}
    await app(scope, receive, send)
    status, body = sent[0]["status"], b"".join(bytes(part.get("body", b"")) for part in sent[1:])  # type: ignore[call-overload]  # bytes
    assert isinstance(status, int)
    return status, body


async def test_ready_when_all_dependencies_respond() -> None:
    ready, body = await Health({"redis": fine}).readiness()
    assert ready
    assert body == {"status": "ready", "checks": {"redis": {"ok": True, "detail": "all well"}}}


async def test_failed_dependency_is_reported_with_its_reason() -> None:
    ready, body = await Health({"redis": fine, "kafka": broken}).readiness()
    assert not ready
    assert body["checks"]["kafka"] == {"ok": False, "detail": "ConnectionError: no route"}
    assert body["checks"]["redis"]["ok"]


async def test_dependency_that_does_not_respond_counts_as_failed() -> None:
    ready, body = await Health({"kafka": silent}, check_timeout_s=0.05).readiness()
    assert not ready
    assert body["checks"]["kafka"]["detail"] == "no response within 0.05 s"


async def test_failing_check_that_is_only_shown_leaves_the_process_ready() -> None:
    health = Health({"redis": fine}, shown={"kafka": broken})
    ready, body = await health.readiness()
    assert (ready, body["status"]) == (True, "ready")
    assert body["checks"]["kafka"] == {"ok": False, "detail": "ConnectionError: no route"}
    _, exported = await get(create_internal_app(health, CollectorRegistry()), "/metrics")
    assert b'push_check_ok{check="kafka"} 0.0' in exported
    assert b"push_ready 1.0" in exported


async def test_process_is_not_ready_before_it_can_accept_work() -> None:
    health = Health({})
    health.starting = True
    assert await health.readiness() == (False, {"status": "starting", "checks": {}})
    health.starting = False
    assert (await health.readiness())[0]


async def test_not_ready_while_stopping() -> None:
    health = Health({"redis": fine})
    health.stopping = True
    ready, body = await health.readiness()
    assert (ready, body["status"]) == (False, "stopping")


async def test_heartbeat_check_fails_when_the_loop_does_not_run() -> None:
    heartbeat = Heartbeat(limit_s=0.1)
    with pytest.raises(RuntimeError, match="not begun"):
        await heartbeat.check()
    heartbeat.beat()
    await heartbeat.check()
    await asyncio.sleep(0.15)
    with pytest.raises(RuntimeError, match="has not run"):
        await heartbeat.check()


async def test_internal_port_serves_liveness_readiness_and_metrics() -> None:
    registry = CollectorRegistry()
    gauge = Gauge("push_example", "an example", registry=registry)

    async def refresh() -> None:
        gauge.set(42)

    app = create_internal_app(Health({"kafka": broken}), registry, refresh_metrics=refresh)
    assert await get(app, "/livez") == (200, b'{"status":"alive"}')
    status, body = await get(app, "/readyz")
    assert status == 503
    assert b"no route" in body
    status, body = await get(app, "/metrics")
    assert status == 200
    assert b"push_example 42.0" in body


async def test_metrics_are_served_while_their_refresh_hangs() -> None:
    async def refresh() -> None:
        await asyncio.Event().wait()

    app = create_internal_app(Health({}), CollectorRegistry(), refresh_metrics=refresh)
    async with asyncio.timeout(4):  # of Prometheus
        status, body = await get(app, "/metrics")
    assert status == 200
    assert b"process_start_time_seconds" in body


def test_only_servers_show_an_interface_description() -> None:
    def paths(app: Starlette) -> set[str]:
        return {route.path for route in app.routes if isinstance(route, Route)}

    worker = create_internal_app(Health({}), CollectorRegistry())
    server = create_internal_app(Health({}), CollectorRegistry(), public_app=FastAPI(title="public"))
    assert paths(server) - paths(worker) == {"/openapi.json"}


async def test_metrics_contain_the_failed_dependency_and_the_process() -> None:
    registry = CollectorRegistry()
    app = create_internal_app(Health({"redis": fine, "kafka": broken}), registry)
    status, body = await get(app, "/metrics")
    assert status == 200
    assert b'push_check_ok{check="redis"} 1.0' in body
    assert b'push_check_ok{check="kafka"} 0.0' in body
    assert b"push_ready 0.0" in body
    assert b"process_start_time_seconds " in body


async def test_metrics_respond_in_time_when_a_check_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "_SCRAPE_LIMIT_S", 0.05)
    response, asked = asyncio.Event(), 0

    async def slow() -> str:
        nonlocal asked
        asked += 1
        await response.wait()
        return ""

    app = create_internal_app(Health({"kafka": slow}, check_timeout_s=60.0), CollectorRegistry())
    for _ in range(2):
        async with asyncio.timeout(5):
            _, body = await get(app, "/metrics")
        assert b'push_check_ok{check="kafka"} 0.0' in body
        assert b"push_ready 0.0" in body
    assert asked == 1, "a check in progress is not started again"
    response.set()
    _, body = await get(app, "/metrics")
    assert b'push_check_ok{check="kafka"} 1.0' in body


async def test_stopping_process_is_not_ready_in_its_metrics() -> None:
    health = Health({})
    app = create_internal_app(health, CollectorRegistry())
    assert b"push_ready 1.0" in (await get(app, "/metrics"))[1]
    health.stopping = True
    assert b"push_ready 0.0" in (await get(app, "/metrics"))[1]
