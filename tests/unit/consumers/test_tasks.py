import asyncio

import pytest

from deploy.develop.localstack.redis import LocalRedis
from services.consumers.settings import Settings
from services.consumers.tasks import _Clients, _reason


@pytest.mark.parametrize(
    ("over_time", "reason"),
    [(0, "worker lost 3 times"), (1, "worker lost 2 times, time limit 1 time"), (3, "time limit 3 times")],
)
def test_reason_counts_lost_workers_and_time_limits(over_time: int, reason: str) -> None:
    assert _reason(3, over_time) == reason


def test_interrupted_action_ends_before_the_connections_of_its_process_are_closed(clean_redis: LocalRedis) -> None:
    steps = []

    async def act() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            steps.append("action ended")

    async def begin() -> asyncio.Task[None]:
        task = asyncio.create_task(act())
        await asyncio.sleep(0)
        return task

    async def close() -> None:
        steps.append("connections closed")
        await opened.aclose()

    clients = _Clients(Settings.from_env({"ACTIONS_REDIS_URL": clean_redis.url}))
    clients.run(clients.redis.ping())
    opened = clients.of_handlers
    clients.of_handlers = opened._replace(aclose=close)
    task = clients.run(begin())
    clients.close()
    assert task.cancelled()
    assert steps == ["action ended", "connections closed"]
    with pytest.raises(RuntimeError, match="Session is closed"):
        asyncio.run(opened.storage.offers_of_chat(("0" * 24,)))
