"""Erase a device from the dead list of the actions, and from the actions that operators retry."""

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from deploy.operate.endpoints import without_password
from services.backbone.dead_actions import DeadActions
from services.backbone.erasure import device_of


async def erase_actions(redis: Redis, url: str, device_id: str, errors: list[str]) -> int:
    """Delete the dead and the retried actions of a device. Return their number.

    `redis`, at `url`, must decode responses. If it fails, add a sentence to `errors`, and return 0.
    """
    try:
        return await DeadActions(redis).erase(lambda arguments: has_device(arguments, device_id), by="erase")
    except RedisError as error:
        errors.append(
            f"The Redis of the actions at {without_password(url)} does not respond: {error}\n"
            "The device's dead actions may still exist: run the command again when Redis is up."
        )
        return 0


def has_device(arguments: str, device_id: str) -> bool:
    """Return whether the arguments of an action contain a device.

    They are a JSON object. One of its values is the id, or the query of an invalid event with the id as `di`. Such a
    query is truncated after 2,000 characters, and an id that is truncated there is not found.
    """
    values = msgspec.json.decode(arguments, type=dict[str, object]).values()
    return any(isinstance(value, str) and device_id in (value, device_of(value)) for value in values)
