"""ActionStore: what is known of each action, in Redis."""

import time
import traceback
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.backbone import names
from services.backbone.dead_actions import KEEP_ENDS_S, DeadAction, DeadActions
from services.consumers.core.actions import Action
from services.consumers.core.flights import ActionReport, ReportKind
from services.consumers.store import scripts

ActionStoreError = RedisError
"""Raised by every method when Redis does not respond in time or responds with an error."""

MOST_STARTS: Final = 3
"""An action that was started so often and never ended is dead: it probably kills its worker."""
_LOCK_MARGIN_S: Final = 5.0
"""Added to the time limit: Celery kills a task some time after its limit. Then nobody else must run it."""
_AWAY_S: Final = 30
"""How long a dependency counts as away without another failure. Several probes fit into it."""
_MOST_TRACEBACK_CHARS: Final = 8_000
_MOST_REASON_CHARS: Final = 500
_KEEP_WORKERS_MS: Final = 3_600_000

StartKind = Literal["started", "finished", "running", "away", "lost", "over_time"]


class StartResult(NamedTuple):
    """The result of a start. Only `started` permits to act; after `lost` and `over_time` the action is dead."""

    kind: StartKind
    token: str
    attempts: int


class HandlerState(NamedTuple):
    """What is known of a handler without its consumer."""

    handler: str
    queued: int
    """Tasks in Celery's queue."""
    dead: int
    retried: int
    """Actions that operators retry and that have not ended."""
    away: str
    """Why what it depends on can't be reached. Empty while it can."""


class WorkerState(NamedTuple):
    """A worker, and when it has received its last ping."""

    name: str
    seen_ms: int


class ActionStore:
    """The actions of all consumers in one Redis. `redis` must decode responses."""

    def __init__(self, redis: Redis, *, time_limit_s: float) -> None:
        self._redis = redis
        self.dead = DeadActions(redis)
        self._lock_ms = round(1000 * (time_limit_s + _LOCK_MARGIN_S))
        self._start = redis.register_script(scripts.START)
        self._done = redis.register_script(scripts.DONE)
        self._undone = redis.register_script(scripts.UNDONE)
        self._read = redis.register_script(scripts.READ)

    async def start(self, action: Action, *, is_probe: bool = False) -> StartResult:
        """Begin an action. A probe begins also while its dependency is away."""
        token = uuid.uuid4().hex
        args = (token, self._lock_ms, MOST_STARTS, KEEP_ENDS_S, int(is_probe), _now_ms())
        kind, attempts = await self._start(keys=[*_own_keys(action), names.away_key(action.handler)], args=args)
        return StartResult(cast("StartKind", kind), token, int(attempts))

    async def report_done(self, action: Action, start: StartResult) -> None:
        """Record that an action is done, and that its dependency responds."""
        keys = [*_own_keys(action), names.away_key(action.handler), names.retried_actions_key(action.handler)]
        await self._done(keys=keys, args=(start.token, KEEP_ENDS_S, action.id))

    async def report_failed(self, action: Action, start: StartResult, reason: str) -> int:
        """Record a failed attempt. Return the number of failed attempts."""
        return await self._report_undone(action, start, "failed", reason)

    async def report_over_time(self, action: Action, start: StartResult) -> None:
        """Record that a start exceeded the time limit. It counts as a start without an end."""
        await self._report_undone(action, start, "over_time", "")

    async def report_away(self, action: Action, start: StartResult, reason: str) -> None:
        """Record that the dependency of a handler can't be reached. This is neither an attempt nor a start."""
        await self._report_undone(action, start, "away", reason)

    async def write_dead_letter(
        self,
        action: Action,
        reason: str,
        *,
        attempts: int = 0,
        error: BaseException | None = None,
        is_invalid: bool = False,
    ) -> None:
        """Put an action, or an invalid event, into the dead list, with the traceback of its last error."""
        trace = "".join(traceback.format_exception(error)) if error is not None else ""
        letter = DeadAction(
            handler=action.handler,
            id=action.id,
            arguments=action.arguments,
            reason=reason[:_MOST_REASON_CHARS],
            traceback=trace[-_MOST_TRACEBACK_CHARS:],
            attempts=attempts,
            died_at_ms=_now_ms(),
            is_invalid=is_invalid,
        )
        await self.dead.write(letter)

    async def reports(self, handler: str, ids: Sequence[str]) -> dict[str, ActionReport | None]:
        """Return the report of each action; None for one that no worker has started."""
        if not ids:
            return {}
        keys = [
            key for id_ in ids for key in (names.action_state_key(handler, id_), names.action_running_key(handler, id_))
        ]
        found = await self._read(keys=keys)
        return {
            id_: ActionReport(cast("ReportKind", kind), int(number), int(attempts)) if kind else None
            for id_, (kind, number, attempts) in zip(ids, found, strict=True)
        }

    async def away_reason(self, handler: str) -> str | None:
        """Return why the dependency of a handler is away, or None if it is not."""
        return cast("str | None", await self._redis.get(names.away_key(handler)))

    async def retried(self, handler: str, *, most: int) -> list[Action]:
        """Return some of the actions that operators retry."""
        found = await self._redis.hrandfield(names.retried_actions_key(handler), most, withvalues=True)
        pairs = cast("list[str]", found or [])
        return [Action(handler, id_, arguments) for id_, arguments in zip(pairs[::2], pairs[1::2], strict=True)]

    async def queue_lengths(self, handlers: Sequence[str]) -> dict[str, int]:
        """Return the number of tasks that wait in the Celery queue of each handler."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for handler in handlers:
                pipeline.llen(names.action_queue(handler))
            return dict(zip(handlers, await pipeline.execute(), strict=True))

    async def states(self, handlers: Sequence[str]) -> list[HandlerState]:
        """Return the state of each handler."""
        dead = Counter(str(name).partition(":")[0] for name in await self._redis.zrange(names.DEAD_ACTIONS, 0, -1))
        async with self._redis.pipeline(transaction=False) as pipeline:
            for handler in handlers:
                pipeline.llen(names.action_queue(handler))
                pipeline.hlen(names.retried_actions_key(handler))
                pipeline.get(names.away_key(handler))
            found = await pipeline.execute()
        parts = zip(handlers, found[::3], found[1::3], found[2::3], strict=True)
        return [
            HandlerState(handler, queued, dead[handler], retried, away or "")
            for handler, queued, retried, away in parts
        ]

    async def workers(self) -> list[WorkerState]:
        """Return the workers that received a ping in the last hour, the newest ping first. Drop the others."""
        found: Any = await self._redis.hgetall(names.ACTION_WORKERS)
        workers = sorted((WorkerState(name, int(seen)) for name, seen in found.items()), key=lambda each: -each.seen_ms)
        gone = [worker.name for worker in workers if worker.seen_ms < _now_ms() - _KEEP_WORKERS_MS]
        if gone:
            await self._redis.hdel(names.ACTION_WORKERS, *gone)
        return [worker for worker in workers if worker.name not in gone]

    async def check_policy(self) -> None:
        """Raise EvictingRedis unless Redis keeps all keys when its memory is full."""
        policy = (await self._redis.info("memory")).get("maxmemory_policy")
        if policy != "noeviction":
            raise EvictingRedis(
                f"ACTIONS_REDIS_URL: the maxmemory-policy of this Redis is {policy!r}. Set it to noeviction: an "
                "evicted key is a lost task, or an event that is acted on twice"
            )

    async def _report_undone(self, action: Action, start: StartResult, kind: ReportKind, reason: str) -> int:
        keys = [*_own_keys(action), names.away_key(action.handler)]
        args = (start.token, KEEP_ENDS_S, kind, reason[:_MOST_REASON_CHARS], _AWAY_S)
        return int(await self._undone(keys=keys, args=args))


class EvictingRedis(Exception):
    """The Redis of the actions may evict keys."""


def _own_keys(action: Action) -> tuple[str, str]:
    handler, id_ = action.handler, action.id
    return names.action_state_key(handler, id_), names.action_running_key(handler, id_)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
