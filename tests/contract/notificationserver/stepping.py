"""The loops of the notificationserver under a clock that the test sets, with real servers behind them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from deploy.develop.localstack.redis import LocalRedis
from services.backbone.mongo import Database
from services.backbone.outgoing import OutgoingClient
from services.backbone.redis import connect as connect_redis
from services.notificationserver.core.mappings import DeviceMapping
from services.notificationserver.core.notifications import MatchedObject, MatchNotice, Notification
from services.notificationserver.core.registrations import apply, parse_registration
from services.notificationserver.core.signatures import format_key
from services.notificationserver.metrics import Metrics
from services.notificationserver.providers import create_channels, enabled_channels
from services.notificationserver.settings import Settings
from services.notificationserver.store import MappingStore, NotificationStore, WindowStore
from services.notificationserver.worker import Deliverer, Merger, Planner

KEY = format_key(b"k" * 32)


class Stopped(Exception):
    """A loop was stopped at a point, as by a kill: its leases stay."""


def stop_at(point: str) -> Callable[[str], None]:
    """Return an `at_point` that stops at a point."""

    def at_point(name: str) -> None:
        if name == point:
            raise Stopped

    return at_point


class Stepper:
    """Stores, a planner, a merger and a deliverer on one database."""

    def __init__(self, database: Database, redis: Redis, outgoing: OutgoingClient, settings: Settings) -> None:
        self.now_ms = 1_795_600_000_000
        self.database = database
        self.settings = settings
        self.redis = redis
        self.windows = WindowStore(redis)
        self.metrics = Metrics(CollectorRegistry())
        self.mappings = MappingStore(database)
        self.notifications = NotificationStore(database, keep_days=settings.keep_days)
        enabled = enabled_channels(settings)
        channels = create_channels(settings, outgoing)

        def clock() -> int:
            return self.now_ms

        self.planner = Planner(database, self.windows, settings, self.metrics, enabled, now_ms=clock)
        self.merger = Merger(database, self.windows, settings, self.metrics, enabled, now_ms=clock)
        self.deliverer = Deliverer(database, channels, self.windows, settings, self.metrics, now_ms=clock)

    async def register(self, device_id: str, **fields: Any) -> DeviceMapping:
        registration = parse_registration({"device_id": device_id, **fields})
        return await self.mappings.change(
            device_id, lambda stored: apply(registration, stored, now_ms=self.now_ms, new_key=KEY)
        )

    async def accept(self, match_id: str, *, number: int = 1, device: str = "") -> bool:
        """Accept a match between the devices `offer-device-<number>`, or `device`, and `search-device-<number>`."""
        offer = MatchedObject(f"offer{number}", device or f"offer-device-{number}", "Bread", 52.51, 13.41, 500)
        search = MatchedObject(f"search{number}", f"search-device-{number}", "Bakery", 52.52, 13.42, 700)
        return (await self.notifications.accept([Notification(match_id, self.now_ms, MatchNotice(offer, search))]))[0]

    async def work(self) -> None:
        """Plan, merge and attempt all that is due now."""
        while await self.planner.plan_due():
            pass
        await self.merger.merge_due()
        await self.attempt()

    async def attempt(self) -> None:
        """Attempt the deliveries that are due now, and wait for their results."""
        while True:
            await self.deliverer.claim_due()
            if not self.deliverer._tasks:
                return
            while self.deliverer._tasks:
                await asyncio.wait(set(self.deliverer._tasks))

    async def run_until_next(self) -> int | None:
        """Set the clock to the time of the next attempt, and make it. Return the time, or None if none is due."""
        first = await self.database["deliveries"].find_one({"due_at": {"$exists": True}}, sort=[("due_at", 1)])
        if first is None:
            return None
        self.now_ms = max(self.now_ms, first["due_at"])
        await self.attempt()
        return self.now_ms

    async def states(self, collection: str = "messages") -> dict[str, str]:
        """Return the state of each document."""
        return {each["_id"]: each["state"] async for each in self.database[collection].find()}


@contextlib.asynccontextmanager
async def stepping(
    environ: Mapping[str, str], database: Database, redis: Redis, **changed: str
) -> AsyncIterator[Stepper]:
    settings = Settings.from_env({**environ, **changed})
    async with OutgoingClient(timeout_s=settings.attempt_timeout_s, allowed=settings.allowed_networks) as outgoing:
        yield Stepper(database, redis, outgoing, settings)


def redis_client(server: LocalRedis) -> Redis:
    """Return a client as the notificationserver uses it."""
    return connect_redis(server.url, timeout_s=2.0, text="strict")
