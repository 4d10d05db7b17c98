import io
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from rich.console import Console

from deploy.develop.localstack.ports import LOOPBACK, free_port
from deploy.operate.storage_status import StorageStatus, read_storage
from services.storage.metrics import ApiMetrics, Metrics


@pytest.fixture
async def internal_url() -> AsyncIterator[str]:
    """Return the internal port of a process that exports the metrics of storage."""
    registry = CollectorRegistry()
    metrics, api_metrics = Metrics(registry), ApiMetrics(registry)
    metrics.due.set(1)
    metrics.encounters.inc(2)
    metrics.owed.set(3)
    api_metrics.events_sent.inc(4)
    api_metrics.owed_events.set(5)

    async def respond(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry))

    application = web.Application()
    application.router.add_get("/metrics", respond)
    runner = web.AppRunner(application)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, LOOPBACK, port).start()
    yield f"http://{LOOPBACK}:{port}"
    await runner.cleanup()


async def test_metrics_of_storage_are_read(internal_url: str) -> None:
    status = await read_storage(internal_url)
    assert status == StorageStatus(
        due_objects=1, encounters=2, owed_encounters=3, events_sent=4, owed_events=5, error=""
    )
    assert status.as_json()["error"] is None
    console = Console(file=io.StringIO(), width=100)
    with console.capture() as capture:
        console.print(status.render())
    assert capture.get() == ("storage   1 objects are due, 2 encounters (3 owed), 4 events sent (5 owed)\n")


@pytest.mark.parametrize(("path", "reason"), [("/elsewhere", "404"), (":1", "Cannot connect")])
async def test_a_failed_request_is_reported_with_its_reason(internal_url: str, path: str, reason: str) -> None:
    url = f"http://{LOOPBACK}:1" if path == ":1" else internal_url + path
    status = await read_storage(url)
    assert status.error.startswith(f"storage at {url} does not respond: ")
    assert reason in status.error
    assert status.render().plain == status.error
