"""What a worker tells its supervisor, and what it does when the supervisor is gone."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from functools import partial

import msgspec
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from services.backbone.health import Health, description_of
from services.backbone.logs import get_logger
from services.tracker.app.channel import Answering, Answers
from services.tracker.app.figures import gauges_of, remove_figures
from services.tracker.app.place import Place

log = get_logger(__name__)

ALIVE = "alive"
GAUGES = "gauges"
OPENAPI = "openapi"
READINESS = "readiness"


class Readiness(msgspec.Struct, frozen=True):
    """Whether to send work to a worker, and why."""

    ready: bool
    detail: str


@contextlib.asynccontextmanager
async def tell_supervisor(
    channel: Answering, place: Place, health: Health, registry: CollectorRegistry, public_app: FastAPI
) -> AsyncIterator[None]:
    """Answer what the supervisor asks, while the block runs.

    A supervisor that is gone is taken as a SIGTERM: the first one stops this process in order, and one that comes
    while it stops ends it at once, since a supervisor leaves before its workers only when it is itself in a hurry.
    """

    async def alive() -> None:
        """Answer that the loop turns."""

    answers: Answers = {
        ALIVE: alive,
        GAUGES: partial(gauges_of, registry),
        OPENAPI: description_of(public_app),
        READINESS: partial(readiness_of, health),
    }

    async def answer() -> None:
        await channel.answer(answers)
        log.warning("supervisor_gone")
        remove_figures(place.figures)  # nobody else will
        os.kill(os.getpid(), signal.SIGTERM)

    answering = asyncio.create_task(answer())
    try:
        yield
    finally:
        answering.cancel()
        await asyncio.wait([answering])


async def readiness_of(health: Health) -> Readiness:
    """Ask a worker's health, in one line."""
    ready, body = await health.readiness()
    details = "; ".join(check["detail"] for check in body["checks"].values())
    return Readiness(ready, details if ready or body["status"] == "not ready" else body["status"])
