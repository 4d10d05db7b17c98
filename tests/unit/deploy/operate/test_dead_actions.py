import asyncio
import contextlib
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


def fill(server: LocalRedis, *, is_invalid: bool = False) -> None:
    async def write() -> None:
        async with Redis.from_url(server.url, decode_responses=True) as redis:
            for number in range(3):
                action = DeadAction("bulk_data", f"id-{number}", "{}", "no", died_at_ms=number, is_invalid=is_invalid)
                await DeadActions(redis).write(action)

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
    retry(target, DeadActionFilter(text="id-1"), dry_run=True, yes=False)
    retry(target, DeadActionFilter(text="id-1"), dry_run=False, yes=True)
    retry(target, DeadActionFilter(text="id-1"), dry_run=False, yes=True)
    show(target, DeadActionFilter(), limit=0, json_output=False)
    printed = capsys.readouterr().out
    assert printed.count("1 action to retry: bulk_data: 1") == 2
    assert printed.count("1 action given to the consumers") == 1
    assert "no action to retry" in printed
    assert printed.splitlines()[-1] == "bulk_data: 2"


def test_invalid_events_are_not_counted_as_retried(clean_redis: LocalRedis, capsys: pytest.CaptureFixture[str]) -> None:
    fill(clean_redis, is_invalid=True)
    retry(endpoints(clean_redis.url), DeadActionFilter(), dry_run=False, yes=True)
    assert capsys.readouterr().out.splitlines() == [
        "no action to retry",
        "invalid events, which would be invalid again and stay in the list: 3",
    ]


@pytest.mark.parametrize(("typed", "left"), [("y", 0), ("n", 3), ("", 3)])
def test_retry_asks_for_confirmation_on_a_terminal(
    clean_redis: LocalRedis,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    left: int,
) -> None:
    fill(clean_redis)
    asked: list[str] = []

    def response(question: str) -> str:
        asked.append(question)
        return typed

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", response)
    target = endpoints(clean_redis.url)
    with contextlib.nullcontext() if typed == "y" else pytest.raises(OperatorError, match="nothing was retried"):
        retry(target, DeadActionFilter(), dry_run=False, yes=False)
    assert asked == ["Retry 3 actions? [y/N] "]
    capsys.readouterr()
    show(target, DeadActionFilter(), limit=0, json_output=True)
    assert json.loads(capsys.readouterr().out)["total"] == left


def test_retry_without_a_terminal_needs_a_confirmation(
    clean_redis: LocalRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(OperatorError, match="confirm with --yes"):
        retry(endpoints(clean_redis.url), DeadActionFilter(), dry_run=False, yes=False)


def test_unknown_handler_lists_the_valid_ones(clean_redis: LocalRedis) -> None:
    target, wrong = endpoints(clean_redis.url), DeadActionFilter("match_notifer")
    message = 'unknown handler "match_notifer". Use one of bulk_data, .*match_notifier'
    with pytest.raises(OperatorError, match=message):
        retry(target, wrong, dry_run=True, yes=False)
    with pytest.raises(OperatorError, match=message):
        show(target, wrong, limit=0, json_output=False)


def test_missing_redis_is_reported() -> None:
    with pytest.raises(OperatorError, match="does not respond"):
        show(endpoints("redis://127.0.0.1:9/0"), DeadActionFilter(), limit=0, json_output=False)
