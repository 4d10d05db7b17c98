"""Flower, started as in its compose file, shows the queues and tasks of a real worker, and changes nothing."""

import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deploy.develop.localstack.ports import LOOPBACK, free_port
from deploy.develop.localstack.processes import LocalProcess
from deploy.paths import ROOT
from services.backbone import names
from services.consumers.__main__ import RULES
from services.consumers.store.celery_queues import create_celery
from tests.contract.actions import proof
from tests.contract.actions.acting_bench import ActingBench, ProofProcess, eventually

PASSWORD = "a-password-of-flower"


class Flower:
    """A Flower with the settings of the compose file, and a client with its credentials."""

    def __init__(self, broker_url: str, folder: Path) -> None:
        file: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose" / "flower.yml").read_text())
        container = file["services"]["flower"]
        port = free_port()
        self.url = f"http://{LOOPBACK}:{port}"
        self.client = httpx.Client(base_url=self.url, auth=("admin", PASSWORD), timeout=10)
        env = {
            "PATH": os.environ["PATH"],
            **container["environment"],
            "PYTHONPATH": str(ROOT / "docker-compose"),
            "CELERY_BROKER_URL": broker_url,
            "FLOWER_ADDRESS": LOOPBACK,
            "FLOWER_PORT": str(port),
            "FLOWER_BASIC_AUTH": f"admin:{PASSWORD}",
        }
        celery, *words = container["command"]
        command = [str(Path(sys.executable).with_name(celery)), *words]
        self.process = LocalProcess("flower", command, log=folder / "flower.log", env=env, cwd=folder)

    def is_healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthcheck", timeout=3).text == "OK"
        except httpx.HTTPError:
            return False


@pytest.fixture
def flower(environ: dict[str, str], tmp_path: Path) -> Iterator[Flower]:
    found = Flower(environ["ACTIONS_REDIS_URL"], tmp_path)
    try:
        found.process.start()
        found.process.wait_until(found.is_healthy, timeout_s=60)
        yield found
    finally:
        found.client.close()
        found.process.stop()


def test_pages_need_the_password_except_metrics_and_health(flower: Flower) -> None:
    assert {path: httpx.get(flower.url + path).status_code for path in ("/", "/tasks", "/broker", "/api/workers")} == {
        "/": 401,
        "/tasks": 401,
        "/broker": 401,
        "/api/workers": 401,
    }
    assert httpx.get(f"{flower.url}/metrics").status_code == 200  # the reason for loopback only
    assert flower.client.get("/broker").status_code == 200


async def test_queues_of_all_handlers_are_shown_without_events(flower: Flower, acting_bench: ActingBench) -> None:
    await acting_bench.redis.lpush(names.action_queue("bulk_data"), "task", "task", "task")
    found = flower.client.get("/api/queues/length").json()["active_queues"]
    lengths = {queue["name"]: queue["messages"] for queue in found}
    assert lengths == {names.action_queue(rule): 0 for rule in RULES} | {names.action_queue("bulk_data"): 3}


async def acted(bench: ActingBench, count: int) -> None:
    async def condition() -> bool:
        return len(await bench.effects()) == count

    await eventually(condition)


@contextlib.asynccontextmanager
async def listening(bench: ActingBench) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Yield a function that returns how many messages with Celery's events were published meanwhile."""
    async with bench.redis.pubsub() as subscriber:
        await subscriber.psubscribe("*celeryev*")

        async def published() -> int:
            await bench.redis.publish("celeryev-end", "end")
            count = 0
            async for message in subscriber.listen():
                if message["data"] == "end":
                    return count
                count += message["type"] == "pmessage"
            return count

        yield published


async def test_tasks_are_shown_with_events_and_the_worker_takes_no_commands(
    flower: Flower, acting_bench: ActingBench, environ: dict[str, str], tmp_path: Path
) -> None:
    worker = ProofProcess({**environ, "ACTIONS_SEND_EVENTS": "true"}, tmp_path)
    try:
        worker.start()
        worker.wait_until_ready()
        await acting_bench.produce(range(5))
        async with listening(acting_bench) as published, acting_bench.consuming():

            async def shown() -> bool:
                tasks = flower.client.get("/api/tasks", params={"taskname": names.ACT_TASK}).json()
                return [task["state"] for task in tasks.values()] == ["SUCCESS"] * 5

            await eventually(shown)
            tasks = flower.client.get("/api/tasks", params={"taskname": names.ACT_TASK}).json()
            assert all(f"'{proof.NAME}'" in task["args"] for task in tasks.values())  # Python's text of them
            [name] = flower.client.get("/api/workers", params={"status": "true"}).json()
            refused = flower.client.post(f"/api/worker/shutdown/{name}")
            assert (refused.status_code, "read only" in refused.text.lower()) == (403, True)
            # A command that does not come from Flower has no effect either.
            create_celery(acting_bench.settings).control.shutdown()
            sent_ms = time.time_ns() // 1_000_000

            async def still_runs() -> bool:
                workers = await acting_bench.store.overview.workers()
                return max(worker.seen_ms for worker in workers.values()) > sent_ms + 2000

            await eventually(still_runs)
            await acting_bench.produce(range(5, 10))
            await acted(acting_bench, 10)
            assert await published() > 0
    finally:
        worker.process.stop()


@pytest.mark.usefixtures("proof_worker")
async def test_worker_sends_no_events_by_default(acting_bench: ActingBench) -> None:
    async with listening(acting_bench) as published, acting_bench.consuming():
        await acting_bench.produce(range(5))
        await acted(acting_bench, 5)
        assert await published() == 0
