import json

import pytest
from redis import Redis

from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.redis import LocalRedis
from deploy.errors import OperatorError
from deploy.operate.endpoints import Endpoints
from deploy.operate.offset_groups import known_groups
from deploy.operate.offsets import move, show
from services.backbone import names

NOWHERE = Endpoints("", (), "redis://127.0.0.1:9/0", "127.0.0.1:9", actions_url="redis://127.0.0.1:9/0")


def endpoints(stack: LocalStack, redis: LocalRedis) -> Endpoints:
    return Endpoints("", (), redis.url, stack.bootstrap_servers, actions_url=redis.url)


def moved(target: Endpoints, *, group: str = "geo_updates", to: str = "earliest", partition: str = "") -> int:
    return move(target, group=group, to=to, partition=partition, environ={}, dry_run=False, yes=True)


def test_every_consumer_is_shown(
    local_stack: LocalStack, clean_redis: LocalRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    assert show(endpoints(local_stack, clean_redis), group="", environ={}, json_output=True) == 0
    groups = {found["group"]: found for found in json.loads(capsys.readouterr().out)["groups"]}
    assert {"event_counter", "timing_stats", "geo_updates", "match_notifier", "bulk_data"} <= groups.keys()
    found = groups["geo_updates"]
    assert (found["container"], found["members"]) == ("geo-updates", 0)
    assert [place["position"] for place in found["partitions"]] == [None] * len(found["partitions"])


def test_table_has_a_row_for_each_partition(
    local_stack: LocalStack,
    clean_redis: LocalRedis,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    show(endpoints(local_stack, clean_redis), group="bulk_data", environ={}, json_output=False)
    title, head, *rows = capsys.readouterr().out.strip().splitlines()
    assert title.strip() == "bulk_data, running members: 0"
    assert head.split()[:4] == ["partition", "position", "end", "lag"]
    assert [row.split()[0] for row in rows] == [str(number) for number in range(len(rows))]


def test_groups_have_one_row_each_within_80_columns(
    local_stack: LocalStack,
    clean_redis: LocalRedis,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    show(endpoints(local_stack, clean_redis), group="", environ={}, json_output=False)
    _, *rows, hint = capsys.readouterr().out.strip().splitlines()
    assert [row.split()[0] for row in rows] == list(known_groups())
    assert "--group NAME" in hint


def test_invalid_position_is_shown_and_not_moved(
    local_stack: LocalStack, clean_redis: LocalRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    with Redis.from_url(clean_redis.url) as redis:
        redis.hset(names.positions_key("event_counter"), "0", "many")
    target = endpoints(local_stack, clean_redis)
    assert show(target, group="", environ={}, json_output=True) == 1
    [error] = json.loads(capsys.readouterr().out)["errors"]
    assert error.startswith('counters:event_counter:positions: partition 0 has the invalid position "many"')
    with pytest.raises(OperatorError, match="has the invalid position"):
        moved(target, group="event_counter", to="latest")


def test_group_that_is_there_already_is_not_moved(
    local_stack: LocalStack, clean_redis: LocalRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    assert moved(endpoints(local_stack, clean_redis)) == 0
    assert "geo_updates is there already" in capsys.readouterr().out


def test_unknown_partition_is_reported(local_stack: LocalStack, clean_redis: LocalRedis) -> None:
    with pytest.raises(OperatorError, match='--partition: the topic has no partition "99"'):
        moved(endpoints(local_stack, clean_redis), partition="99")


@pytest.mark.parametrize("group", ["", "kafidx"])
def test_unknown_group_is_reported_before_anything_is_read(group: str) -> None:
    with pytest.raises(OperatorError, match=r"--group.*Use one of bulk_data, .*event_counter"):
        moved(NOWHERE, group=group)


def test_wrong_time_is_reported_before_anything_is_read() -> None:
    with pytest.raises(OperatorError, match='--to: invalid time "soon"'):
        moved(NOWHERE, to="soon")


def test_move_needs_a_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(OperatorError, match="confirm with --yes"):
        move(NOWHERE, group="bulk_data", to="latest", partition="", environ={}, dry_run=False, yes=False)


def test_missing_broker_is_reported() -> None:
    with pytest.raises(OperatorError, match=r"Kafka at 127\.0\.0\.1:9 does not respond"):
        show(NOWHERE, group="bulk_data", environ={}, json_output=False)


def test_missing_redis_is_reported(local_stack: LocalStack) -> None:
    with pytest.raises(OperatorError, match=r"Redis at .*127\.0\.0\.1:9/0 does not respond"):
        moved(NOWHERE._replace(bootstrap_servers=local_stack.bootstrap_servers))


def test_only_the_redis_that_does_not_respond_is_named(local_stack: LocalStack, clean_redis: LocalRedis) -> None:
    half = Endpoints("", (), "redis://127.0.0.1:9/0", local_stack.bootstrap_servers, actions_url=clean_redis.url)
    with pytest.raises(OperatorError, match=r"Redis at redis://127\.0\.0\.1:9/0 does not respond"):
        show(half, group="event_counter", environ={}, json_output=False)
