"""The job: ask until the brokers answer, make what is missing, say what differs."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from services.backbone.backoff import Backoff
from services.backbone.kafka import KafkaUnavailable, TopicPlan, ensure_topics, topic_differences
from services.backbone.logs import get_logger
from services.backbone.process import fail
from services.topics.settings import Settings

log = get_logger(__name__)

_LONGEST_PAUSE_S = 1.0
_SHORTEST_ATTEMPT_S = 1.0


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Make the topics, or end the process with 1 when the brokers do not make them within the time limit.

    `stop` ends the wait: the process then ends with 1 too, since nobody may take the topics for made.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + settings.wait_s
    backoff = Backoff(longest_s=_LONGEST_PAUSE_S)
    while not stop.is_set():
        try:
            await _unless_stopped(_make(settings.bootstrap_servers, settings.plans), stop, deadline_s=deadline_s)
        except KafkaUnavailable as error:
            if loop.time() >= deadline_s:
                fail(f"no topics after {settings.wait_s:g} s at {settings.bootstrap_servers}: {error}", 1)
            log.info("waiting_for_kafka", error=str(error))
        else:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), backoff.next_s())
    fail("stopped before the topics were made", 1)


async def _unless_stopped(work: Coroutine[Any, Any, None], stop: asyncio.Event, *, deadline_s: float) -> None:
    """Do the work, but not for longer than until `stop` or the deadline: brokers that hang must not make this deaf."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    left_s = max(_SHORTEST_ATTEMPT_S, deadline_s - asyncio.get_running_loop().time())
    try:
        done, _ = await asyncio.wait([working, stopping], timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        working.cancel()
    if working not in done:
        raise KafkaUnavailable("no answer")
    await working


async def _make(bootstrap_servers: str, plans: tuple[TopicPlan, ...]) -> None:
    created = await ensure_topics(bootstrap_servers, plans)
    log.info("topics_ready", created=created, existing=[plan.name for plan in plans if plan.name not in created])
    # What was just made is as it was asked for, and not every broker knows it at once.
    existing = [plan for plan in plans if plan.name not in created]
    differences = await topic_differences(bootstrap_servers, existing) if existing else []
    if differences:
        log.warning("topics_differ", differences=differences)
