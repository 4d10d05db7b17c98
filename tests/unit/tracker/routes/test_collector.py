from collections.abc import Sequence
from functools import partial
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from deploy.develop.localstack.ports import LOOPBACK, free_port
from services.backbone.process import http_server
from services.tracker.core import Rules
from services.tracker.metrics import Metrics
from services.tracker.routes import Collector, CollectorProtocol, ConnectionBounds, DirectGets, Limits, add_routes
from services.tracker.store import EventStore, OnStored

RULES = Rules(trusted=(), honour_opt_out=True, person_parameters=frozenset(), pod="10.0.0.7")
CLIENT_ID = "01936f3e-7b5a-7c6d-8e9f-0a1b2c3d4e5f"
LIMITS = Limits(event_bytes=1024, batch_bytes=1024, batch_events=10, all_bodies_bytes=4096, body_timeout_s=5.0)


class BrokenStore(EventStore):
    """A store with a bug: it raises ZeroDivisionError for each event."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(Redis(), metrics, max_pending_events=1, max_pending_bytes=1)

    def submit(self, entries: Sequence[bytes], on_stored: OnStored) -> None:  # noqa: ARG002 - the store's signature
        raise ZeroDivisionError("a bug")


async def ask(
    registry: CollectorRegistry, method: str, *, directly: bool = False, **headers: str
) -> tuple[httpx.Response, list[Any]]:
    metrics = Metrics(registry)
    app = FastAPI(redirect_slashes=False)
    collector = Collector(BrokenStore(metrics), RULES, LIMITS, metrics)
    add_routes(app, collector, ["/batch"])
    protocol = partial(
        CollectorProtocol,
        max_event_bytes=1024,
        max_header_bytes=1024,
        head_timeout_s=5.0,
        bounds=ConnectionBounds(
            max_connections=10,
            max_address_connections=10,
            max_buffer_bytes=1_000_000,
            max_address_buffer_bytes=1_000_000,
        ),
        metrics=metrics,
        direct=DirectGets(collector, metrics) if directly else None,
    )
    port = free_port()
    with structlog.testing.capture_logs() as logs:
        async with (
            http_server(app, host=LOOPBACK, port=port, protocol=protocol),
            httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{port}") as client,
        ):
            response = await client.request(method, "/open?di=device-9", headers=headers)
    return response, logs


@pytest.mark.parametrize(("method", "directly"), [("POST", False), ("GET", False), ("GET", True)])
async def test_bug_gets_500_and_is_counted_and_logged_once_with_client_id(method: str, *, directly: bool) -> None:
    registry = CollectorRegistry()
    response, logs = await ask(registry, method, directly=directly, **{"Idempotency-Key": CLIENT_ID})
    assert response.status_code == 500
    assert response.json()["error"] == "bug"
    [line] = logs
    assert (line["event"], line["log_level"], line["id"]) == ("request_failed", "error", CLIENT_ID)
    assert "device-9" not in str(line)
    assert registry.get_sample_value("push_tracker_requests_total", {"method": method, "status": "500"}) == 1


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "127.0.0.1-17"}])
async def test_bug_log_has_no_id_when_client_id_is_not_a_uuid(headers: dict[str, Any]) -> None:
    _, [line] = await ask(CollectorRegistry(), "GET", **headers)
    assert line["id"] == ""
    assert "127.0.0.1" not in str(line)
