"""The state of the actions: what each handler has to do, its dead actions, and the workers."""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.asyncio import Redis
from rich.console import Group
from rich.table import Table
from rich.text import Text

from deploy.errors import OperatorError
from deploy.operate.actions_redis import open_actions
from deploy.operate.dead_letters import readable_time
from deploy.operate.endpoints import Endpoints
from deploy.operate.offset_groups import ConsumerGroup, GroupPositions, known_groups, open_offsets
from services.backbone.action_overview import ActionOverview
from services.backbone.settings import KafkaSettings


class HandlerStatus(NamedTuple):
    """What one handler has to do."""

    lag: int | None = None
    """Events in the topic after the committed offset. None when Kafka does not respond, or without a consumer yet."""
    oldest_ms: int | None = None
    """When the oldest of these was received, in ms since 1970. An event before it is finished."""
    queued: int = 0
    """Tasks in Celery's queue."""
    retried: int = 0
    """Actions that operators retry."""
    dead: int = 0
    away: str = ""
    """Why what its actions need can't be reached. Empty while it can."""


class ActionsStatus(NamedTuple):
    """The state of all handlers and workers."""

    handlers: dict[str, HandlerStatus]
    workers: int = 0
    """Workers that take tasks."""
    error: str = ""
    """Why Redis could not be read. Empty when it responds."""

    @property
    def is_used(self) -> bool:
        """Whether the system has, or had, action consumers."""
        handlers = self.handlers.values()
        return bool(self.error or self.workers or any(each.lag is not None or each.dead for each in handlers))

    def as_json(self) -> dict[str, Any]:
        """Return JSON values. Scripts rely on the keys."""
        handlers = {name: handler._asdict() for name, handler in self.handlers.items()}
        dead = sum(handler.dead for handler in self.handlers.values())
        return {"handlers": handlers, "workers": self.workers, "dead": dead, "error": self.error or None}

    def render(self) -> Group | Text:
        """Return a table for a terminal."""
        if self.error:
            return Text(self.error, style="bold red")
        table = Table("actions", box=None)
        for title in ("lag", "oldest unfinished", "queued", "retried", "dead"):
            table.add_column(title, justify="right")
        for name, handler in self.handlers.items():
            oldest = "" if handler.oldest_ms is None else readable_time(handler.oldest_ms)
            lag = "?" if handler.lag is None else f"{handler.lag:,}"
            table.add_row(name, lag, oldest, f"{handler.queued:,}", f"{handler.retried:,}", f"{handler.dead:,}")
        waits = [
            Text(f"{name} waits: {handler.away}", style="bold red")
            for name, handler in self.handlers.items()
            if handler.away
        ]
        workers = Text(f" workers: {self.workers}", style="" if self.workers else "bold red")
        return Group(table, workers, *waits)


async def read_actions(endpoints: Endpoints, *, has_kafka: bool) -> ActionsStatus:
    """Return the status. Without Kafka, or the positions of the groups, the lags are unknown."""
    groups = [group for group in known_groups().values() if group.acts]
    lags: dict[str, tuple[int | None, int | None]] = {}
    if has_kafka:
        with contextlib.suppress(OperatorError):  # the status reports Kafka, and the Redis is read below
            lags = await _read_lags(endpoints, groups)
    try:
        async with open_actions(endpoints) as redis:
            return await _read_redis(redis, [group.name for group in groups], lags)
    except OperatorError as error:
        return ActionsStatus({}, error=str(error))


async def _read_lags(endpoints: Endpoints, groups: Sequence[ConsumerGroup]) -> dict[str, tuple[int | None, int | None]]:
    settings = KafkaSettings.from_env({"KAFKA_BOOTSTRAP_SERVERS": endpoints.bootstrap_servers})
    lags = {}
    async with open_offsets(endpoints, settings) as offsets:
        for found in await offsets.read(groups):
            times = await offsets.record_times({each.partition: each.current for each in found.partitions})
            lags[found.group.name] = _lag(found, list(times.values()))
    return lags


def _lag(found: GroupPositions, times: Sequence[int]) -> tuple[int | None, int | None]:
    """Return the lag of a group, and when its oldest unfinished event was received."""
    if not found.members and all(each.position is None for each in found.partitions):
        return None, None
    return sum(each.lag for each in found.partitions), min(times, default=None)


async def _read_redis(
    redis: Redis, handlers: Sequence[str], lags: dict[str, tuple[int | None, int | None]]
) -> ActionsStatus:
    overview = ActionOverview(redis)
    states, workers = await overview.states(handlers), await overview.workers()
    return ActionsStatus(
        {
            state.handler: HandlerStatus(
                *lags.get(state.handler, (None, None)), state.queued, state.retried, state.dead, state.away
            )
            for state in states
        },
        workers=sum(not worker.is_silent for worker in workers.values()),
    )
