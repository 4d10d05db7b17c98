"""WindowStore: the rate limit in Redis. It is a help: without Redis all messages are sent.

The keys are taken by a script instead of `SET key value NX GET`: Redis 6.2 allows not both options, and one request
takes the keys of a whole group.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.backbone.logs import get_logger
from services.backbone.names import notify_content_key
from services.notificationserver.core.messages import Message
from services.notificationserver.core.notifications import digest_in

log = get_logger(__name__)

_TAKE: Final = """
local holders = {}
for index, key in ipairs(KEYS) do
  local holder = redis.call('GET', key)
  if not holder or holder == ARGV[2 * index - 1] then
    holder = ARGV[2 * index - 1]
    redis.call('SET', key, holder, 'PX', ARGV[2 * index])
  end
  holders[index] = holder
end
return holders
"""
_GIVE_BACK: Final = """
for index, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[index] then redis.call('DEL', key) end
end
"""


class WindowRequest(NamedTuple):
    """A message that wants a window."""

    key: str
    holder: str
    """The id of the message."""
    ms: int
    """How long the window lasts from now."""


class WindowStore:
    """Windows by key. `failures` counts the requests that Redis did not respond to."""

    def __init__(self, redis: Redis) -> None:
        """`redis` decodes responses."""
        self._take = redis.register_script(_TAKE)
        self._give_back = redis.register_script(_GIVE_BACK)
        self.failures = 0

    async def take(self, requests: Sequence[WindowRequest]) -> dict[str, str]:
        """Take the windows that are free. Return the holder of each key; nothing without Redis.

        A window begins when it is taken. A holder that takes its window again begins it anew: after a kill, its message
        may be sent only now.
        """
        if not requests:
            return {}
        arguments = [value for each in requests for value in (each.holder, each.ms)]
        try:
            holders: list[str] = await self._take(keys=[each.key for each in requests], args=arguments)
        except RedisError as error:
            self.failures += 1
            log.warning("window_not_available", error=f"{type(error).__name__}: {error}"[:200])
            return {}
        return {each.key: holder for each, holder in zip(requests, holders, strict=True)}

    async def give_back(self, messages: Iterable[Message]) -> None:
        """Free the windows that the messages still hold, and the ids of their contents. Without Redis these end later.

        With its id free, a repeated request without an id is new instead of known.
        """
        held: dict[str, str] = {}
        for message in messages:
            if message.window:
                held[message.window] = message.id
                held[notify_content_key(digest_in(message.notification_id))] = message.notification_id
        if not held:
            return
        try:
            await self._give_back(keys=list(held), args=list(held.values()))
        except RedisError as error:
            self.failures += 1
            log.warning("window_not_available", error=f"{type(error).__name__}: {error}"[:200])
