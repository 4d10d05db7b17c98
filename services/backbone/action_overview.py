"""What operators see of the actions: the state of each handler, and the processes that run.

Consumers and workers write their states to Redis, with the time at which they expire, since only they know their
settings. The pages, the metrics of the workers and the task `status` read them here.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from redis.asyncio import Redis

from services.backbone import names
from services.backbone.clock import clock_ms

_KEEP_WORKERS_MS: Final = 3_600_000
"""How long a silent worker is shown."""
_State = TypeVar("_State")


class ConsumerState(msgspec.Struct, frozen=True):
    """What one consumer process has in hand."""

    lag: int
    """Events in Kafka after the committed offsets of its partitions, as last measured while Kafka responded."""
    waiting: int
    """Polled actions that are not sent yet."""
    in_flight: int
    """Actions that are sent and not finished."""
    oldest_s: float
    """Age of the oldest unfinished action, in seconds."""
    until_ms: int
    """When the state expires, in ms since 1970. A process without a newer one does not run, or waits for Redis or
    Kafka."""


class HandlerState(NamedTuple):
    """The actions of one handler. The numbers of its consumers are sums over those that run."""

    handler: str
    consumers: int
    lag: int
    waiting: int
    in_flight: int
    oldest_s: float
    queued: int
    """Tasks in Celery's queue."""
    failing: int
    """Unfinished actions that have failed at least once."""
    retried: int
    """Actions that operators retry and that have not ended."""
    done: int
    """Actions that were done since Redis was last emptied."""
    dead: int
    """Actions in the dead list now."""
    away: str
    """Why what it depends on can't be reached. Empty while it can."""


class WorkerState(msgspec.Struct, frozen=True):
    """When a worker has received its last ping, and from when on it is silent, in ms since 1970."""

    seen_ms: int
    until_ms: int

    @property
    def is_silent(self) -> bool:
        """Whether the worker has ended, or takes no tasks."""
        return self.until_ms < clock_ms()


class ActionOverview:
    """Reads and writes the state of all actions. `redis` must decode responses. Each method raises RedisError."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def write_consumer(self, handler: str, process: str, state: ConsumerState) -> None:
        """Record what a consumer process has in hand, and drop the states of processes that do not run."""
        name = names.action_process_name(handler, process)
        await self._redis.hset(names.ACTION_CONSUMERS, name, msgspec.json.encode(state).decode())
        found = await self._read(names.ACTION_CONSUMERS, ConsumerState)
        await self._drop(names.ACTION_CONSUMERS, [name for name, each in found.items() if each.until_ms < clock_ms()])

    async def erase_consumer(self, handler: str, process: str) -> None:
        """Record that a consumer process ends."""
        await self._redis.hdel(names.ACTION_CONSUMERS, names.action_process_name(handler, process))

    async def write_worker(self, name: str, *, silence_s: float) -> None:
        """Record that a worker has received a ping, and drop the workers that are silent for an hour.

        `silence_s`: seconds until the worker counts as silent.
        """
        now_ms = clock_ms()
        state = WorkerState(now_ms, now_ms + round(1000 * silence_s))
        await self._redis.hset(names.ACTION_WORKERS, name, msgspec.json.encode(state).decode())
        found = await self._read(names.ACTION_WORKERS, WorkerState)
        await self._drop(
            names.ACTION_WORKERS, [name for name, each in found.items() if each.until_ms < now_ms - _KEEP_WORKERS_MS]
        )

    async def queue_lengths(self, handlers: Sequence[str]) -> dict[str, int]:
        """Return the number of tasks that wait in the Celery queue of each handler."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for handler in handlers:
                pipeline.llen(names.action_queue(handler))
            return dict(zip(handlers, await pipeline.execute(), strict=True))

    async def ends(self, handlers: Sequence[str]) -> dict[tuple[str, str], int]:
        """Return how many actions of each handler were done and dead: (handler, `done` or `dead`) -> number."""
        fields = [(handler, end) for handler in handlers for end in ("done", "dead")]
        found: Any = await self._redis.hmget(names.ACTION_ENDS, [f"{handler}:{end}" for handler, end in fields])
        return {field: int(number or 0) for field, number in zip(fields, found, strict=True)}

    async def states(self, handlers: Sequence[str]) -> list[HandlerState]:
        """Return the state of each handler."""
        dead = Counter(names.handler_of(str(name)) for name in await self._redis.zrange(names.DEAD_ACTIONS, 0, -1))
        consumers = await self._consumers()
        ends = await self.ends(handlers)
        queued = await self.queue_lengths(handlers)
        async with self._redis.pipeline(transaction=False) as pipeline:
            for handler in handlers:
                pipeline.zcard(names.failing_actions_key(handler))
                pipeline.hlen(names.retried_actions_key(handler))
                pipeline.get(names.away_key(handler))
            found = await pipeline.execute()
        states = []
        for handler, failing, retried, away in zip(handlers, found[::3], found[1::3], found[2::3], strict=True):
            running = consumers.get(handler, [])
            states.append(
                HandlerState(
                    handler,
                    consumers=len(running),
                    lag=sum(each.lag for each in running),
                    waiting=sum(each.waiting for each in running),
                    in_flight=sum(each.in_flight for each in running),
                    oldest_s=max((each.oldest_s for each in running), default=0.0),
                    queued=queued[handler],
                    failing=failing,
                    retried=retried,
                    done=ends[handler, "done"],
                    dead=dead[handler],
                    away=away or "",
                )
            )
        return states

    async def workers(self) -> dict[str, WorkerState]:
        """Return the workers, the newest ping first. Silent ones stay for an hour."""
        found = await self._read(names.ACTION_WORKERS, WorkerState)
        shown = {name: each for name, each in found.items() if each.until_ms >= clock_ms() - _KEEP_WORKERS_MS}
        return dict(sorted(shown.items(), key=lambda each: -each[1].seen_ms))

    async def _consumers(self) -> dict[str, list[ConsumerState]]:
        """Return what the running processes of each handler have in hand."""
        running: dict[str, list[ConsumerState]] = {}
        for name, state in (await self._read(names.ACTION_CONSUMERS, ConsumerState)).items():
            if state.until_ms >= clock_ms():
                running.setdefault(names.handler_of(name), []).append(state)
        return running

    async def _read(self, key: str, kind: type[_State]) -> dict[str, _State]:
        found: Any = await self._redis.hgetall(key)
        return {name: msgspec.json.decode(content, type=kind) for name, content in found.items()}

    async def _drop(self, key: str, gone: Sequence[str]) -> None:
        if gone:
            await self._redis.hdel(key, *gone)
