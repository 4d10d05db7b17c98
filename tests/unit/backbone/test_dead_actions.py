import json
import time
from collections.abc import AsyncIterator

import msgspec
import pytest
from redis.asyncio import Redis

from deploy.develop.localstack.redis import LocalRedis
from services.backbone import dead_actions, names
from services.backbone.dead_actions import DeadAction, DeadActionFilter, DeadActions, DeadActionsPage

VALUE = {"nested": [1, {"text": "Köln ☕ \\ \" '"}], "large": 2**63 - 1, "none": None, "empty": ""}
LIMIT_S = 2.0


@pytest.fixture
async def redis(clean_redis: LocalRedis) -> AsyncIterator[Redis]:
    async with Redis.from_url(clean_redis.url, decode_responses=True) as client:
        yield client


def action(number: int, *, handler: str = "geo_updates", reason: str = "ValueError: no") -> DeadAction:
    return DeadAction(handler, f"id-{number}", json.dumps({"number": number, "value": VALUE}), reason, "", 5, number)


async def test_newest_action_is_first_and_the_oldest_are_dropped(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_actions, "MOST_DEAD", 3)
    dead = DeadActions(redis)
    for number in range(5):
        await dead.write(action(number))
    assert [found.died_at_ms for found in await dead.find()] == [4, 3, 2]
    assert await dead.size() == 3
    assert await redis.hlen(names.DEAD_ACTION_CONTENTS) == 3


async def test_invalid_events_push_out_no_other_action(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_actions, "MOST_DEAD", 5)
    monkeypatch.setattr(dead_actions, "MOST_INVALID", 2)
    dead = DeadActions(redis)
    await dead.write(action(0))
    for number in range(1, 20):
        await dead.write(msgspec.structs.replace(action(number), is_invalid=True))
    assert [found.died_at_ms for found in await dead.find()] == [19, 18, 0]
    await dead.delete(await dead.find(), by="one")
    assert await redis.exists(names.INVALID_ACTIONS, names.DEAD_ACTION_CONTENTS, names.DEAD_ACTIONS) == 0


async def test_invalid_events_of_a_poll_leave_nothing_but_the_newest_in_the_list(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_actions, "MOST_INVALID", 4)
    monkeypatch.setattr(dead_actions, "_SLICE", 3)
    dead = DeadActions(redis)
    await dead.write(action(0))
    keys = await redis.dbsize()
    events = [msgspec.structs.replace(action(number), is_invalid=True) for number in range(1, 11)]
    for _ in range(2):  # they are polled again after a rebalance
        await dead.write_invalid(events)
    assert {found.id for found in await dead.find()} == {"id-0", "id-7", "id-8", "id-9", "id-10"}
    assert await redis.dbsize() == keys + 1
    await dead.delete(await dead.find(), by="one")
    assert await redis.exists(names.INVALID_ACTIONS, names.DEAD_ACTION_CONTENTS, names.DEAD_ACTIONS) == 0


async def test_action_is_found_by_handler_and_text(redis: Redis) -> None:
    dead = DeadActions(redis)
    await dead.write(action(1))
    await dead.write(action(2, handler="bulk_data", reason="Timed OUT"))

    async def found(handler: str, text: str) -> list[str]:
        return [each.id for each in await dead.find(DeadActionFilter(handler, text))]

    assert await found("bulk_data", "") == ["id-2"]
    assert await found("", "timed out") == ["id-2"]
    assert await found("", '"number": 1') == ["id-1"]
    assert await found("bulk_data", "id-1") == []


@pytest.mark.parametrize("text", ["", "no"])
async def test_page_has_a_part_of_the_selected_actions(redis: Redis, text: str) -> None:
    dead = DeadActions(redis)
    for number in range(7):
        await dead.write(action(number, handler="bulk_data" if number == 3 else "geo_updates"))
    wanted = DeadActionFilter("geo_updates", text)
    shown = [await dead.page(wanted, number, rows=4) for number in (1, 2, 9)]
    assert [[each.died_at_ms for each in page.actions] for page in shown] == [[6, 5, 4, 2], [1, 0], [1, 0]]
    assert [(page.number, page.pages, page.total) for page in shown] == [(1, 2, 6), (2, 2, 6), (2, 2, 6)]
    empty = await dead.page(DeadActionFilter("none", text), 2, rows=4)
    assert empty == DeadActionsPage([], 0, 1, 1)


async def test_page_without_a_text_reads_only_its_actions(redis: Redis) -> None:
    dead = DeadActions(redis)
    for number in range(3):
        await dead.write(action(number))
    await redis.hset(names.DEAD_ACTION_CONTENTS, names.dead_action_name("geo_updates", "id-0"), "not read")
    assert [each.id for each in (await dead.page(DeadActionFilter(), 1, rows=2)).actions] == ["id-2", "id-1"]


async def test_retried_action_keeps_its_arguments_and_is_retried_once(redis: Redis) -> None:
    dead = DeadActions(redis)
    await dead.write(action(1))
    found = await dead.find()
    assert [await dead.retry(found, by="one"), await dead.retry(found, by="two")] == [1, 0]
    retried = await redis.hgetall(names.retried_actions_key("geo_updates"))
    assert retried == {"id-1": found[0].arguments}
    assert json.loads(retried["id-1"])["value"] == VALUE
    assert await dead.find() == []
    assert [(entry.by, entry.what, entry.count) for entry in await dead.audit()] == [("one", "retry", 1)]


async def test_invalid_event_is_not_retried_and_stays_in_the_list(redis: Redis) -> None:
    dead = DeadActions(redis)
    await dead.write(action(1))
    await dead.write(msgspec.structs.replace(action(2), is_invalid=True))
    assert await dead.retry(await dead.find(), by="one") == 1
    assert [found.id for found in await dead.find()] == ["id-2"]
    assert list(await redis.hgetall(names.retried_actions_key("geo_updates"))) == ["id-1"]


async def test_deleted_action_is_neither_found_nor_retried(redis: Redis) -> None:
    dead = DeadActions(redis)
    await dead.write(action(1))
    found = await dead.find()
    assert await dead.delete(found, by="one") == 1
    assert await dead.retry(found, by="one") == 0
    assert await dead.find() == []


async def test_full_list_is_searched_quickly_and_retried_together(redis: Redis) -> None:
    dead = DeadActions(redis)
    encoded = [action(number) for number in range(dead_actions.MOST_DEAD)]
    async with redis.pipeline(transaction=False) as pipeline:
        for each in encoded:
            name = names.dead_action_name(each.handler, each.id)
            pipeline.zadd(names.DEAD_ACTIONS, {name: each.died_at_ms})
            pipeline.hset(names.DEAD_ACTION_CONTENTS, name, msgspec.json.encode(each).decode())
        await pipeline.execute()
    began_s = time.perf_counter()
    found = await dead.find(DeadActionFilter(text='"number": 99'))
    assert time.perf_counter() - began_s < LIMIT_S
    assert len(found) == 1 + 10 + 100
    assert await dead.retry((await dead.find())[:1_000], by="one") == 1_000
    assert await dead.size() == 9_000


async def test_old_actions_and_invalid_events_are_deleted_and_audited(redis: Redis) -> None:
    dead = DeadActions(redis)
    await dead.write(action(1000))
    await dead.write(msgspec.structs.replace(action(2000), is_invalid=True))
    await dead.write(action(3000))
    assert await dead.delete_before(3000, by="expire") == 2
    assert await dead.delete_before(3000, by="expire") == 0
    assert [found.died_at_ms for found in await dead.find()] == [3000]
    assert await redis.exists(names.INVALID_ACTIONS) == 0
    assert await redis.hlen(names.DEAD_ACTION_CONTENTS) == 1
    assert [(entry.by, entry.what, entry.count) for entry in await dead.audit()] == [("expire", "delete", 2)]
