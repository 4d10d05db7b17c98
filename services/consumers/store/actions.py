"""ActionStore: what is known of each action, in Redis."""

import math
import traceback
import uuid
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.backbone import names
from services.backbone.action_moves import RequestedMoves
from services.backbone.action_overview import ActionOverview
from services.backbone.clock import clock_ms
from services.backbone.dead_actions import KEEP_ENDS_S, DeadAction, DeadActions, keep_done_s
from services.consumers.core.actions import Action, Selected
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

StartKind = Literal["started", "finished", "running", "away", "lost"]


class StartResult(NamedTuple):
    """The result of a start. Only `started` permits to act; after `lost` the action is dead."""

    kind: StartKind
    token: str
    attempts: int
    over_time: int = 0
    """Of the starts of a lost action, how many exceeded the time limit."""


class UnendedStarts(NamedTuple):
    """The starts of an action that have not ended it."""

    starts: int
    over_time: int
    """How many of them exceeded the time limit. The workers of the others died."""
    attempts: int

    @property
    def are_too_many(self) -> bool:
        """Whether the action is dead."""
        return self.starts >= MOST_STARTS


class HandlerCondition(NamedTuple):
    """What decides about the next sends of a handler."""

    away: str | None
    """Why what it depends on can't be reached, or None if it can."""
    queued: int
    """Tasks in its Celery queue."""


class ActionStore:
    """The actions of all consumers in one Redis. `redis` must decode responses."""

    def __init__(self, redis: Redis, *, time_limit_s: float) -> None:
        self._redis = redis
        self.dead = DeadActions(redis)
        self.overview = ActionOverview(redis)
        self.moves = RequestedMoves(redis)
        self._lock_ms = round(1000 * (time_limit_s + _LOCK_MARGIN_S))
        self._start = redis.register_script(scripts.START)
        self._done = redis.register_script(scripts.DONE)
        self._undone = redis.register_script(scripts.UNDONE)
        self._read = redis.register_script(scripts.READ)

    async def start(self, action: Action, *, is_probe: bool = False) -> StartResult:
        """Begin an action. A probe begins also while its dependency is away."""
        token = uuid.uuid4().hex
        args = (token, self._lock_ms, MOST_STARTS, KEEP_ENDS_S, int(is_probe))
        kind, attempts, *over_time = await self._start(
            keys=[*_own_keys(action), names.away_key(action.handler)], args=args
        )
        return StartResult(cast("StartKind", kind), token, int(attempts), *map(int, over_time))

    async def report_done(self, action: Action, start: StartResult) -> None:
        """Record that an action is done, and that its dependency responds."""
        handler = action.handler
        keys = [
            *_own_keys(action),
            names.away_key(handler),
            names.retried_actions_key(handler),
            names.failing_actions_key(handler),
            names.ACTION_ENDS,
        ]
        await self._done(keys=keys, args=(start.token, keep_done_s(handler), action.id, f"{handler}:done"))

    async def report_failed(self, action: Action, start: StartResult, reason: str) -> None:
        """Record a failed attempt."""
        await self._report_undone(action, start, "failed", reason)

    async def report_over_time(self, action: Action, start: StartResult) -> UnendedStarts:
        """Record that a start exceeded the time limit. It counts as a start without an end."""
        return await self._report_undone(action, start, "over_time", "")

    async def report_away(self, action: Action, start: StartResult, reason: str, *, wait_s: float = 0.0) -> int:
        """Record that the dependency of a handler can't be reached. This is neither an attempt nor a start.

        But it is a failed attempt if another action of the handler was done since this one has found the dependency
        away before. Then the result is the number of failed attempts, else 0.

        `wait_s`: seconds that the dependency stays away, 0 if they are not known.
        """
        return (await self._report_undone(action, start, "away", reason, wait_s=wait_s)).attempts

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
        await self.dead.write(_dead(action, reason, attempts=attempts, error=error, is_invalid=is_invalid))

    async def write_invalid_events(self, events: Sequence[Selected]) -> None:
        """Put invalid events into the dead list."""
        await self.dead.write_invalid(
            [_dead(event.action, f"invalid event: {event.invalid}", is_invalid=True) for event in events]
        )

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

    async def condition(self, handler: str) -> HandlerCondition:
        """Return what decides about the next sends of a handler."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.get(names.away_key(handler))
            pipeline.llen(names.action_queue(handler))
            away, queued = await pipeline.execute()
        return HandlerCondition(away, queued)

    async def retried(self, handler: str, *, most: int) -> list[Action]:
        """Return some of the actions that operators retry."""
        found = await self._redis.hrandfield(names.retried_actions_key(handler), most, withvalues=True)
        pairs = cast("list[str]", found or [])
        return [Action(handler, id_, arguments) for id_, arguments in zip(pairs[::2], pairs[1::2], strict=True)]

    async def memory_share(self) -> float:
        """Return the used share of the memory limit of Redis, 0.0 without a limit."""
        memory = await self._redis.info("memory")
        return float(memory["used_memory"] / memory["maxmemory"]) if memory["maxmemory"] else 0.0

    async def check_policy(self) -> None:
        """Raise EvictingRedis unless Redis keeps all keys when its memory is full."""
        policy = (await self._redis.info("memory")).get("maxmemory_policy")
        if policy != "noeviction":
            raise EvictingRedis(
                f"ACTIONS_REDIS_URL: the maxmemory-policy of this Redis is {policy!r}. Set it to noeviction: an "
                "evicted key is a lost task, or an event that is acted on twice"
            )

    async def _report_undone(
        self, action: Action, start: StartResult, kind: ReportKind, reason: str, *, wait_s: float = 0.0
    ) -> UnendedStarts:
        handler = action.handler
        keys = [*_own_keys(action), names.away_key(handler), names.failing_actions_key(handler), names.ACTION_ENDS]
        away_s = math.ceil(wait_s) if wait_s else _AWAY_S
        reason = reason[:_MOST_REASON_CHARS]
        args = (start.token, KEEP_ENDS_S, kind, reason, away_s, action.id, f"{handler}:done", int(wait_s > 0))
        return UnendedStarts(*map(int, await self._undone(keys=keys, args=args)))


class EvictingRedis(Exception):
    """The Redis of the actions may evict keys."""


def _dead(
    action: Action,
    reason: str,
    *,
    attempts: int = 0,
    error: BaseException | None = None,
    is_invalid: bool = False,
) -> DeadAction:
    trace = "".join(traceback.format_exception(error)) if error is not None else ""
    return DeadAction(
        handler=action.handler,
        id=action.id,
        arguments=action.arguments,
        reason=reason[:_MOST_REASON_CHARS],
        traceback=trace[-_MOST_TRACEBACK_CHARS:],
        attempts=attempts,
        died_at_ms=clock_ms(),
        is_invalid=is_invalid,
    )


def _own_keys(action: Action) -> tuple[str, str]:
    handler, id_ = action.handler, action.id
    return names.action_state_key(handler, id_), names.action_running_key(handler, id_)
