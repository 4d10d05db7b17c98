"""What operators see of the actions: the state of each handler, and the processes that run. Read from Redis."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
from redis.asyncio import Redis

from services.backbone import names
from services.backbone.clock import clock_ms

_KEEP_WORKERS_MS: Final = 3_600_000
_CONSUMER_ALIVE_MS: Final = 15_000
"""A consumer that has not written its state for so long does not run, or waits for Redis or Kafka."""


class ConsumerState(msgspec.Struct, frozen=True):
    """What one consumer process has in hand."""

    lag: int
    """Events in Kafka after the committed offsets of its partitions."""
    waiting: int
    """Polled actions that are not sent yet."""
    in_flight: int
    """Actions that are sent and not finished."""
    oldest_s: float
    """Age of the oldest unfinished action, in seconds."""
    at_ms: int
    """When the process wrote this."""


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
    died: int
    """Actions that went to the dead list since Redis was last emptied."""
    dead: int
    """Actions in the dead list now."""
    away: str
    """Why what it depends on can't be reached. Empty while it can."""


class WorkerState(NamedTuple):
    """A worker, and when it has received its last ping."""

    name: str
    seen_ms: int


class ActionOverview:
    """Reads the state of all actions. `redis` must decode responses. Methods raise RedisError when Redis fails."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def write_consumer(self, handler: str, process: str, state: ConsumerState) -> None:
        """Record what a consumer process has in hand."""
        content = msgspec.json.encode(state).decode()
        await self._redis.hset(names.ACTION_CONSUMERS, f"{handler}:{process}", content)

    async def erase_consumer(self, handler: str, process: str) -> None:
        """Record that a consumer process ends."""
        await self._redis.hdel(names.ACTION_CONSUMERS, f"{handler}:{process}")

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
        dead = Counter(str(name).partition(":")[0] for name in await self._redis.zrange(names.DEAD_ACTIONS, 0, -1))
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
                    died=ends[handler, "dead"],
                    dead=dead[handler],
                    away=away or "",
                )
            )
        return states

    async def workers(self) -> list[WorkerState]:
        """Return the workers that received a ping in the last hour, the newest ping first. Drop the others."""
        found: Any = await self._redis.hgetall(names.ACTION_WORKERS)
        workers = sorted((WorkerState(name, int(seen)) for name, seen in found.items()), key=lambda each: -each.seen_ms)
        gone = [worker.name for worker in workers if worker.seen_ms < clock_ms() - _KEEP_WORKERS_MS]
        if gone:
            await self._redis.hdel(names.ACTION_WORKERS, *gone)
        return [worker for worker in workers if worker.name not in gone]

    async def _consumers(self) -> dict[str, list[ConsumerState]]:
        """Return what the running processes of each handler have in hand. Drop those that do not run."""
        found: Any = await self._redis.hgetall(names.ACTION_CONSUMERS)
        running: dict[str, list[ConsumerState]] = {}
        gone = []
        for name, content in found.items():
            state = msgspec.json.decode(content, type=ConsumerState)
            if state.at_ms < clock_ms() - _CONSUMER_ALIVE_MS:
                gone.append(name)
            else:
                running.setdefault(name.partition(":")[0], []).append(state)
        if gone:
            await self._redis.hdel(names.ACTION_CONSUMERS, *gone)
        return running
