"""What all members of consumer groups have in common: their process, their readiness, and their patience."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any, Final, Protocol

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from services.backbone.backoff import Backoff
from services.backbone.health import Check, Health, Heartbeat, create_internal_app
from services.backbone.kafka import EventConsumer
from services.backbone.logs import get_logger
from services.backbone.process import http_server, run_task
from services.backbone.settings import ProcessSettings

log = get_logger(__name__)

HEARTBEAT_LIMIT_S: Final = 30.0
"""The longest healthy cycle: a poll, a rebalance that waits for a dead member, Redis' timeout."""


class GroupMember(Protocol):
    """A consumer process in its group."""

    heartbeat: Heartbeat
    stopping: bool
    """Ends the loops. It is set before a cancellation: asyncio and the Kafka client can swallow one."""

    async def check_kafka(self) -> str:
        """Raise unless this process is a member of its group and the cluster responds."""

    async def check_partitions(self) -> str:
        """Raise if this member has no partition, unless it is a spare."""


async def run_member(  # noqa: PLR0913 - the parts of a process
    member: GroupMember,
    work: Callable[[], Coroutine[Any, Any, None]],
    *,
    redis: Redis,
    registry: CollectorRegistry,
    settings: ProcessSettings,
    stop: asyncio.Event,
    shown: Mapping[str, Check] | None = None,
) -> None:
    """Run `work` until `stop` is set, and close `redis`.

    The internal port opens first: while Redis or Kafka is down, readiness reports the reason. `shown` checks do not
    change readiness.
    """

    async def check_redis() -> str:
        await redis.ping()
        return ""

    checks = {
        "loop": member.heartbeat.check,
        "redis": check_redis,
        "kafka": member.check_kafka,
        "partitions": member.check_partitions,
    }
    health = Health(checks, shown=shown)
    app = create_internal_app(health, registry)

    def begin_stop() -> None:
        health.stopping = member.stopping = True

    async with (
        contextlib.aclosing(redis),
        http_server(app, host=settings.internal_host, port=settings.internal_port),
    ):
        await run_task(work(), stop, before_cancel=begin_stop)


class OutagePauses:
    """The pauses of a member while Redis or Kafka is down, until nothing has worked for `give_up_s`."""

    def __init__(self, give_up_s: float) -> None:
        self._give_up_s = give_up_s
        self._backoff = Backoff(first_s=0.1, longest_s=5.0)
        self._last_success_s = time.monotonic()

    def renew(self) -> None:
        """Begin again with the first pause. Call it after a success."""
        self._backoff.reset()
        self._last_success_s = time.monotonic()

    async def pause(self, event: str, error: Exception) -> None:
        """Log an error as `event`, and wait before the next try. Raises it when nothing has worked for too long."""
        failing_s = time.monotonic() - self._last_success_s
        if failing_s > self._give_up_s:
            raise error
        log.warning(event, failing_s=round(failing_s, 1), error=f"{type(error).__name__}: {error}")
        await asyncio.sleep(self._backoff.next_s())


async def check_member(kafka: EventConsumer | None) -> str:
    """Raise unless this process is a member of its group and the cluster responds."""
    if kafka is None:
        raise RuntimeError("not in the consumer group yet")
    await kafka.check()
    return ""


async def check_assignment(kafka: EventConsumer | None, held: Collection[int]) -> str:
    """Raise if this member has no partition, unless it is a spare. Return its partitions."""
    if kafka is None:
        raise RuntimeError("not in the consumer group yet")
    if held:
        return f"partitions {sorted(held)}"
    partitions, members = (await kafka.topic()).partitions, await kafka.group_size()
    if members <= partitions:
        raise RuntimeError(f"holds no partition, while {members} members share the topic's {partitions}")
    return f"spare: {members} members share the topic's {partitions} partitions"
