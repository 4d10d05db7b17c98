"""The job: wait until the brokers respond, create missing topics, log differences."""

import asyncio
import contextlib

from services.backbone.backoff import Backoff
from services.backbone.kafka import KafkaUnavailable, TopicPlan, ensure_topics, topic_differences
from services.backbone.logs import get_logger
from services.backbone.process import fail, run_task
from services.topics.settings import Settings

log = get_logger(__name__)

_LONGEST_PAUSE_S = 1.0
_SHORTEST_ATTEMPT_S = 1.0


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Create the topics. Exit with 1 if the brokers do not create them within the time limit.

    `stop` ends the wait. The process then exits with 1 as well, so that no process starts without the topics.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + settings.wait_s
    backoff = Backoff(longest_s=_LONGEST_PAUSE_S)
    while not stop.is_set():
        try:
            left_s = max(_SHORTEST_ATTEMPT_S, deadline_s - loop.time())
            if await run_task(_create(settings.bootstrap_servers, settings.plans), stop, timeout_s=left_s):
                return
            raise KafkaUnavailable("no response")  # noqa: TRY301 - handled like an error of the client
        except KafkaUnavailable as error:
            if loop.time() >= deadline_s:
                fail(f"no topics after {settings.wait_s:g} s at {settings.bootstrap_servers}: {error}", 1)
            log.info("waiting_for_kafka", error=str(error))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), backoff.next_s())
    fail("stopped before the topics were created", 1)


async def _create(bootstrap_servers: str, plans: tuple[TopicPlan, ...]) -> None:
    created = await ensure_topics(bootstrap_servers, plans)
    log.info("topics_ready", created=created, existing=[plan.name for plan in plans if plan.name not in created])
    # A new topic has the planned settings, but not every broker knows it at once.
    existing = [plan for plan in plans if plan.name not in created]
    differences = await topic_differences(bootstrap_servers, existing) if existing else []
    if differences:
        log.warning("topics_differ", differences=differences)
