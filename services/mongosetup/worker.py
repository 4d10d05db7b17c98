"""The job: wait until the members respond, create the replica set if there is none, wait for its primary."""

import asyncio

from pymongo.errors import PyMongoError

from services.backbone.backoff import Backoff
from services.backbone.logs import get_logger
from services.backbone.process import fail, run_task
from services.mongosetup.core import REPLICA_SET, Initiate, Ready, SetupStep, Wait, next_step
from services.mongosetup.settings import Settings
from services.mongosetup.store import initiate, states_of

log = get_logger(__name__)

_LONGEST_PAUSE_S = 1.0


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Create the replica set. Exit with 1 if it has no primary within the time limit.

    `stop` ends the wait. The process then exits with 1 as well, so that no process starts without MongoDB.
    """
    reason = "no response"

    async def attempt_until_ready() -> None:
        nonlocal reason
        backoff = Backoff(longest_s=_LONGEST_PAUSE_S)
        while True:
            step = await _attempt(settings)
            if isinstance(step, Ready):
                log.info("replica_set_ready", members=settings.members)
                if step.differences:
                    log.warning("replica_set_differs", differences=step.differences)
                return
            if isinstance(step, Wait):
                reason = step.reason
                log.info("waiting_for_mongodb", reason=reason)
            await asyncio.sleep(backoff.next_s())

    if await run_task(attempt_until_ready(), stop, timeout_s=settings.wait_s):
        return
    if stop.is_set():
        fail("stopped before the replica set had a primary", 1)
    fail(f"no primary of {REPLICA_SET} after {settings.wait_s:g} s: {reason}", 1)


async def _attempt(settings: Settings) -> SetupStep:
    step = next_step(await states_of(settings.members))
    if not isinstance(step, Initiate):
        return step
    try:
        await initiate(settings.members)
    except PyMongoError as error:
        return Wait(f"{settings.members[0]} does not create the replica set: {error}")
    log.info("replica_set_created", members=settings.members)
    return step
