"""Start storage: `python -m services.storage`."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from functools import partial

from prometheus_client import CollectorRegistry

from services.backbone.clients import NotificationClient, TrackerClient
from services.backbone.process import load_settings, run_until_stopped
from services.storage.app import Loops, run
from services.storage.metrics import ApiMetrics, Metrics
from services.storage.settings import Settings
from services.storage.store import Database
from services.storage.worker import EventSender, Matcher, Notifier


@contextlib.asynccontextmanager
async def create_loops(
    settings: Settings,
    database: Database,
    registry: CollectorRegistry,
    api_metrics: ApiMetrics,
    *,
    at_point: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Loops]:
    """Build the matcher, the notifier and the sender of events with their clients.

    Tests stop the process in `at_point`.
    """
    metrics = Metrics(registry)
    password = settings.notify_password
    credentials = None if password is None else (settings.notify_user, password.get_secret_value())
    # The loops repeat what fails. A client that repeats it too would only hold a place in a round for longer.
    async with (
        NotificationClient(settings.notify_url, credentials=credentials, attempts=1) as notifications,
        TrackerClient(settings.tracker_url, attempts=1) as tracker,
    ):
        notifier = Notifier(database, notifications, settings, metrics, at_point=at_point)
        matcher = Matcher(database, settings, metrics, on_encounters=notifier.wake, at_point=at_point)
        sender = EventSender(
            database,
            tracker,
            api_metrics,
            lease_s=settings.event_lease_s,
            poll_s=settings.event_poll_s,
            at_point=at_point,
        )

        def stop() -> None:
            matcher.stopping = notifier.stopping = sender.stopping = True

        async def refresh_metrics() -> None:
            await matcher.refresh_metrics()
            await notifier.refresh_metrics()
            await sender.refresh_metrics()

        yield Loops(
            run={"matcher": matcher.run, "notifier": notifier.run, "events": sender.run},
            stop=stop,
            checks={
                "matcher": matcher.heartbeat.check,
                "notifier": notifier.heartbeat.check,
                "events": sender.heartbeat.check,
            },
            refresh_metrics=refresh_metrics,
            match_now=matcher.match_now,
            on_change=sender.wake,
        )


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set."""
    await run(settings, stop, partial(create_loops, settings))


if __name__ == "__main__":
    loaded = load_settings(Settings, os.environ)
    run_until_stopped(partial(serve, loaded), loaded, service="storage")
