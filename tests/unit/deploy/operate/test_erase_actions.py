import msgspec
import pytest
from redis.asyncio import Redis

from deploy.develop.localstack.redis import LocalRedis
from deploy.operate.erase_actions import erase_actions, has_device
from services.backbone import names
from services.backbone.dead_actions import DeadAction, DeadActions
from services.consumers.core.actions import InvalidArguments, MatchObject, NotifySearchers, StoreFix


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (StoreFix("device/7", 1.0, 2.0, 3.0, 4), True),
        (StoreFix("device/77", 1.0, 2.0, 3.0, 4), False),
        (NotifySearchers("device/7"), True),
        (MatchObject("offers", "device"), False),
        (InvalidArguments("geo", "lt=x&di=device%2F7"), True),
        (InvalidArguments("geo", "di=device/7"), True),
        (InvalidArguments("geo", "lt=device/7"), False),
    ],
)
def test_arguments_contain_the_device_by_its_exact_id(arguments: msgspec.Struct, found: bool) -> None:  # noqa: FBT001 - a case
    assert has_device(msgspec.json.encode(arguments).decode(), "device/7") is found


async def test_dead_and_retried_actions_of_the_device_are_removed(clean_redis: LocalRedis) -> None:
    theirs, others = '{"device":"device-7"}', '{"device":"device-8"}'
    async with Redis.from_url(clean_redis.url, decode_responses=True) as redis:
        dead = DeadActions(redis)
        for number, arguments in enumerate((theirs, others, theirs, others)):
            await dead.write(DeadAction("geo_updates", f"id-{number}", arguments, "no"))
        await dead.retry([action for action in await dead.find() if action.id in {"id-2", "id-3"}], by="test")
        errors: list[str] = []
        assert await erase_actions(redis, clean_redis.url, "device-7", errors) == 2
        assert await erase_actions(redis, clean_redis.url, "device-7", errors) == 0
        assert errors == []
        assert [action.id for action in await dead.find()] == ["id-1"]
        assert await redis.hgetall(names.retried_actions_key("geo_updates")) == {"id-3": others}


async def test_missing_redis_is_reported_without_its_password() -> None:
    async with Redis.from_url("redis://127.0.0.1:9/0") as redis:
        errors: list[str] = []
        assert await erase_actions(redis, "redis://:secret@127.0.0.1:9/0", "device-7", errors) == 0
    [error] = errors
    assert error.startswith("The Redis of the actions at redis://127.0.0.1:9/0 does not respond")
    assert "run the command again" in error
