"""Start the notificationserver: `python -m services.notificationserver`."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from functools import partial

from services.backbone.clients import TrackerClient
from services.backbone.mongo import Database
from services.backbone.outgoing import OutgoingClient
from services.backbone.process import load_settings, run_until_stopped
from services.notificationserver.app import Workers, run
from services.notificationserver.metrics import Metrics
from services.notificationserver.providers import create_channels, enabled_channels
from services.notificationserver.settings import Settings
from services.notificationserver.store import WindowStore
from services.notificationserver.worker import Deliverer, Merger, OwedEventSender, Planner


def _nothing(_: str) -> None:
    pass


@contextlib.asynccontextmanager
async def create_workers(
    settings: Settings, at_point: Callable[[str], None], database: Database, windows: WindowStore, metrics: Metrics
) -> AsyncIterator[Workers]:
    """Build the planner, the merger, the deliverer and the sender of events with their clients."""
    async with (
        OutgoingClient(timeout_s=settings.attempt_timeout_s, allowed=settings.allowed_networks) as outgoing,
        TrackerClient(settings.tracker_url) as tracker,
    ):
        enabled = enabled_channels(settings)
        channels = create_channels(settings, outgoing)
        deliverer = Deliverer(database, channels, windows, settings, metrics, at_point=at_point)
        wake = deliverer.loop.wake
        planner = Planner(database, windows, settings, metrics, enabled, on_deliveries=wake, at_point=at_point)
        merger = Merger(database, windows, settings, metrics, enabled, on_deliveries=wake, at_point=at_point)
        events = OwedEventSender(database, tracker, settings, metrics, at_point=at_point)
        loops = {"planner": planner.loop, "merger": merger.loop, "deliverer": deliverer.loop, "events": events.loop}

        async def refresh_metrics() -> None:
            await asyncio.gather(*(part.refresh_metrics() for part in (planner, merger, deliverer, events)))

        def on_accepted() -> None:
            planner.loop.wake()
            events.loop.wake()

        def stop() -> None:
            for loop in loops.values():
                loop.stopping = True

        yield Workers(
            run={name: loop.run for name, loop in loops.items()},
            checks={name: loop.heartbeat.check for name, loop in loops.items()},
            refresh_metrics=refresh_metrics,
            on_accepted=on_accepted,
            on_due=wake,
            stop=stop,
            finish=lambda limit_s: deliverer.finish(limit_s=limit_s),
        )


async def serve(settings: Settings, stop: asyncio.Event, *, at_point: Callable[[str], None] = _nothing) -> None:
    """Serve until `stop` is set. Tests stop the process in `at_point`."""
    await run(settings, stop, partial(create_workers, settings, at_point))


if __name__ == "__main__":
    loaded = load_settings(Settings, os.environ)
    run_until_stopped(partial(serve, loaded), loaded, service="notificationserver")
