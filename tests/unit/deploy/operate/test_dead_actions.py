import asyncio
import json

import pytest
from redis.asyncio import Redis

from deploy.develop.localstack.redis import LocalRedis
from deploy.errors import OperatorError
from deploy.operate.dead_actions import retry, show
from deploy.operate.endpoints import Endpoints
from services.backbone.dead_actions import DeadAction, DeadActionFilter, DeadActions


def endpoints(url: str) -> Endpoints:
    return Endpoints("", (), "", "", actions_url=url)


def fill(server: LocalRedis) -> None:
    async def write() -> None:
        async with Redis.from_url(server.url, decode_responses=True) as redis:
            for number in range(3):
                await DeadActions(redis).write(DeadAction("bulk_data", f"id-{number}", "{}", "no", died_at_ms=number))

    asyncio.run(write())


def test_list_is_json_with_the_newest_first(clean_redis: LocalRedis, capsys: pytest.CaptureFixture[str]) -> None:
    fill(clean_redis)
    assert show(endpoints(clean_redis.url), DeadActionFilter(), limit=2, json_output=True) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in printed["actions"]] == ["id-2", "id-1"]
    assert (printed["total"], printed["by_handler"]) == (3, {"bulk_data": 3})


def test_retry_takes_the_selected_actions_once(clean_redis: LocalRedis, capsys: pytest.CaptureFixture[str]) -> None:
    fill(clean_redis)
    target = endpoints(clean_redis.url)
    retry(target, DeadActionFilter(text="id-1"), dry_run=True)
    retry(target, DeadActionFilter(text="id-1"), dry_run=False)
    retry(target, DeadActionFilter(text="id-1"), dry_run=False)
    show(target, DeadActionFilter(), limit=0, json_output=False)
    printed = capsys.readouterr().out
    assert "would retry 1 actions" in printed
    assert printed.count("1 actions are retried") == 1
    assert "bulk_data: 2" in printed


def test_missing_redis_is_reported() -> None:
    with pytest.raises(OperatorError, match="does not respond"):
        show(endpoints("redis://127.0.0.1:9/0"), DeadActionFilter(), limit=0, json_output=False)
