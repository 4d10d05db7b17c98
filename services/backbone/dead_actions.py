"""The dead list of actions in Redis. Workers and consumers write it; pages and the operators' tasks read it.

It keeps the newest MOST_DEAD actions, of invalid events the newest MOST_INVALID. A retried action goes to its consumer,
which sends it until it has ended.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from redis.asyncio import Redis

from services.backbone import names
from services.backbone.audit import AuditEntry, AuditList

MOST_DEAD: Final = 10_000
MOST_INVALID: Final = 1_000
"""The share of invalid events in the list. Anybody can send them, and must not push out the other actions."""
KEEP_ENDS_S: Final = 86_400
"""How long the end of an action is remembered: longer than its event can come twice, by a rebalance or a killed
kafkastore."""
_KEEP_DONE_S: Final = {"geo_updates": 600}
"""Handlers whose done actions are remembered for a shorter time. Most actions are fixes, each takes 235 bytes, and
storage ignores a repeated one."""
_SLICE: Final = 500
_SCANNED_AT_ONCE: Final = 10_000

_TRIM: Final = """
local function trim(key, most, dead, contents, invalid)
    local beyond = redis.call('ZCARD', key) - tonumber(most)
    if beyond <= 0 then return end
    local dropped = redis.call('ZRANGE', key, 0, beyond - 1)
    redis.call('ZREM', dead, unpack(dropped))
    redis.call('HDEL', contents, unpack(dropped))
    redis.call('ZREM', invalid, unpack(dropped))
end
"""

_WRITE: Final = (
    _TRIM
    + """
-- KEYS state, running, retried, dead, contents, invalid, failing, ends.
-- ARGV s to keep, id, name in the dead list, content, ms, most names, whether it is invalid, most invalid names,
-- name among the ends.
local last = redis.call('HGET', KEYS[1], 'report')
if last == 'done' or last == 'dead' then return 0 end
redis.call('HSET', KEYS[1], 'report', 'dead')
redis.call('HINCRBY', KEYS[1], 'number', 1)
redis.call('EXPIRE', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
redis.call('HDEL', KEYS[3], ARGV[2])
redis.call('ZREM', KEYS[7], ARGV[2])
redis.call('HINCRBY', KEYS[8], ARGV[9], 1)
redis.call('ZADD', KEYS[4], ARGV[5], ARGV[3])
redis.call('HSET', KEYS[5], ARGV[3], ARGV[4])
if ARGV[7] == '1' then
    redis.call('ZADD', KEYS[6], ARGV[5], ARGV[3])
    trim(KEYS[6], ARGV[8], KEYS[4], KEYS[5], KEYS[6])
end
trim(KEYS[4], ARGV[6], KEYS[4], KEYS[5], KEYS[6])
return 1
"""
)

_WRITE_INVALID: Final = (
    _TRIM
    + """
-- KEYS dead, contents, invalid. ARGV most names, most invalid names, then ms, name and content of each.
for index = 3, #ARGV, 3 do
    local ms, name, content = ARGV[index], ARGV[index + 1], ARGV[index + 2]
    if redis.call('ZADD', KEYS[1], 'NX', ms, name) == 1 then
        redis.call('ZADD', KEYS[3], ms, name)
        redis.call('HSET', KEYS[2], name, content)
    end
end
trim(KEYS[3], ARGV[2], KEYS[1], KEYS[2], KEYS[3])
trim(KEYS[1], ARGV[1], KEYS[1], KEYS[2], KEYS[3])
"""
)

_RETRY: Final = """
-- KEYS state, retried, dead, contents, invalid. ARGV id, name in the dead list.
local content = redis.call('HGET', KEYS[4], ARGV[2])
if redis.call('ZREM', KEYS[3], ARGV[2]) == 0 or not content then return 0 end
redis.call('HDEL', KEYS[4], ARGV[2])
redis.call('ZREM', KEYS[5], ARGV[2])
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[2], ARGV[1], cjson.decode(content)['arguments'])
return 1
"""


class DeadAction(msgspec.Struct, frozen=True):
    """An action that is not tried again by itself."""

    handler: str
    id: str
    arguments: str
    """The JSON object of the action, unchanged."""
    reason: str
    traceback: str = ""
    attempts: int = 0
    died_at_ms: int = 0
    is_invalid: bool = False
    """Whether its event is invalid. It can't be retried: it would be invalid again. If a consumer has rejected it, the
    arguments are the event."""


class DeadActionFilter(NamedTuple):
    """Selects dead actions."""

    handler: str = ""
    """The exact name of the handler. Empty: any."""
    text: str = ""
    """Text in the arguments, the reason, the traceback or the id, in any case. Empty: any."""

    def has(self, action: DeadAction) -> bool:
        """Return whether the filter selects an action."""
        if self.handler and action.handler != self.handler:
            return False
        sought = self.text.casefold()
        parts = (action.arguments, action.reason, action.traceback, action.id)
        return not sought or any(sought in part.casefold() for part in parts)


_ALL: Final = DeadActionFilter()


class DeadActionsPage(NamedTuple):
    """A part of the selected actions."""

    actions: list[DeadAction]
    total: int
    """The number of selected actions."""
    number: int
    pages: int


class DeadActions:
    """The dead list. `redis` must decode responses. Every method raises RedisError when Redis does not respond."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._write = redis.register_script(_WRITE)
        self._write_invalid = redis.register_script(_WRITE_INVALID)
        self._retry = redis.register_script(_RETRY)
        self._audit = AuditList(redis, names.ACTION_AUDIT)

    async def write(self, action: DeadAction) -> None:
        """Put an action into the list and record that it is dead. Has no effect on an action that has ended."""
        handler, id_ = action.handler, action.id
        keys = [
            names.action_state_key(handler, id_),
            names.action_running_key(handler, id_),
            names.retried_actions_key(handler),
            names.DEAD_ACTIONS,
            names.DEAD_ACTION_CONTENTS,
            names.INVALID_ACTIONS,
            names.failing_actions_key(handler),
            names.ACTION_ENDS,
        ]
        name, content = names.dead_action_name(handler, id_), msgspec.json.encode(action).decode()
        bounds = (MOST_DEAD, int(action.is_invalid), MOST_INVALID)
        await self._write(
            keys=keys, args=(KEEP_ENDS_S, id_, name, content, action.died_at_ms, *bounds, f"{handler}:dead")
        )

    async def write_invalid(self, events: Sequence[DeadAction]) -> None:
        """Put invalid events, which no worker has started, into the list, at most the last MOST_INVALID of them.

        An event that is in the list stays as it is. Nothing else is stored of an event: anybody can send many.
        """
        keys = [names.DEAD_ACTIONS, names.DEAD_ACTION_CONTENTS, names.INVALID_ACTIONS]
        for part in _slices(events[-MOST_INVALID:]):
            args: list[Any] = [MOST_DEAD, MOST_INVALID]
            for each in part:
                args += (each.died_at_ms, names.dead_action_name(each.handler, each.id), msgspec.json.encode(each))
            await self._write_invalid(keys=keys, args=args)

    async def find(self, wanted: DeadActionFilter = _ALL) -> list[DeadAction]:
        """Return the selected actions, the newest first. A full list takes up to 0.4 s."""
        return [action async for action in self._read(await self._names(wanted.handler)) if wanted.has(action)]

    async def page(self, wanted: DeadActionFilter, number: int, *, rows: int) -> DeadActionsPage:
        """Return the selected actions of a page, the newest first. Without a text, it reads only these.

        The first page is 1. A number beyond the last page returns the last one.
        """
        found: Sequence[Any] = await self.find(wanted) if wanted.text else await self._names(wanted.handler)
        pages = max(1, -(-len(found) // rows))
        number = min(pages, max(1, number))
        shown = found[rows * (number - 1) : rows * number]
        actions = shown if wanted.text else [action async for action in self._read(shown)]
        return DeadActionsPage(list(actions), len(found), number, pages)

    async def size(self) -> int:
        """Return the number of actions in the list."""
        return int(await self._redis.zcard(names.DEAD_ACTIONS))

    async def retry(self, actions: Sequence[DeadAction], *, by: str) -> int:
        """Retry actions. Return how many of them were still in the list: a second call has no effect.

        Invalid events stay in the list (`DeadAction.is_invalid`).
        """
        retried = 0
        for part in _slices([action for action in actions if not action.is_invalid]):
            async with self._redis.pipeline(transaction=False) as pipeline:
                for action in part:
                    keys = [
                        names.action_state_key(action.handler, action.id),
                        names.retried_actions_key(action.handler),
                        names.DEAD_ACTIONS,
                        names.DEAD_ACTION_CONTENTS,
                        names.INVALID_ACTIONS,
                    ]
                    args = (action.id, names.dead_action_name(action.handler, action.id))
                    await self._retry(keys=keys, args=args, client=pipeline)
                retried += sum(await pipeline.execute())
        await self._note(by, "retry", retried)
        return retried

    async def delete(self, actions: Sequence[DeadAction], *, by: str) -> int:
        """Delete actions from the list. Return how many of them were in it."""
        return await self._delete([names.dead_action_name(action.handler, action.id) for action in actions], by)

    async def delete_before(self, before_ms: int, *, by: str) -> int:
        """Delete the actions that died before a time, in ms since 1970. Return their number."""
        found: Any = await self._redis.zrange(names.DEAD_ACTIONS, "-inf", f"({before_ms}", byscore=True)
        return await self._delete(found, by)

    async def erase(self, is_wanted: Callable[[str], bool], *, by: str) -> int:
        """Delete the dead and the retried actions whose arguments are wanted. Return their number.

        A consumer that has taken a retried action already still ends it.
        """
        erased = await self.delete([action for action in await self.find() if is_wanted(action.arguments)], by=by)
        async for key in self._redis.scan_iter(match=names.retried_actions_key("*"), count=_SCANNED_AT_ONCE):
            retried: Any = await self._redis.hgetall(key)
            if found := [id_ for id_, arguments in retried.items() if is_wanted(arguments)]:
                erased += await self._redis.hdel(key, *found)
        return erased

    async def audit(self) -> list[AuditEntry]:
        """Return what operators did, the newest first."""
        return await self._audit.entries()

    async def _delete(self, found: Sequence[str], by: str) -> int:
        deleted = 0
        for part in _slices(found):
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.zrem(names.DEAD_ACTIONS, *part)
                pipeline.hdel(names.DEAD_ACTION_CONTENTS, *part)
                pipeline.zrem(names.INVALID_ACTIONS, *part)
                removed, *_ = await pipeline.execute()
            deleted += removed
        await self._note(by, "delete", deleted)
        return deleted

    async def _names(self, handler: str) -> list[str]:
        found: Any = await self._redis.zrange(names.DEAD_ACTIONS, 0, -1, desc=True)
        return [name for name in found if handler in ("", names.handler_of(name))]

    async def _read(self, found: Sequence[str]) -> AsyncIterator[DeadAction]:
        for part in _slices(found):
            contents: Any = await self._redis.hmget(names.DEAD_ACTION_CONTENTS, part)
            for content in contents:
                if content is not None:  # retried or deleted meanwhile
                    yield msgspec.json.decode(content, type=DeadAction)

    async def _note(self, by: str, what: str, count: int) -> None:
        if count:
            await self._audit.add(by, what, count=count)


def keep_done_s(handler: str) -> int:
    """Return how many seconds it is remembered that an action of a handler is done."""
    return _KEEP_DONE_S.get(handler, KEEP_ENDS_S)


def _slices(items: Sequence[Any]) -> Iterable[Any]:
    return (items[first : first + _SLICE] for first in range(0, len(items), _SLICE))
