"""An importer on a local server, a real Redis and a real storage."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import httpx
from redis.asyncio import Redis

from services.backbone.clients import StorageClient
from services.offerserver.core.drafts import AreaBox
from services.offerserver.core.reports import RunReport
from services.offerserver.handlers.importing import ImportRunner
from services.offerserver.importers.configured import read_source
from services.offerserver.providers.fetching import FeedFetcher, FetchLimits
from services.offerserver.store.leases import RunLeases
from services.offerserver.store.runs import RunOrder, RunStore
from tests.contract.storage.api.serving import SERVICE, SharedStorage, client_of
from tests.unit.offerserver.hostile import HostileServer, fetching, hostile_server, reply
from tests.unit.offerserver.reading import AREA

OWNER = "CityThings"
BOX = AreaBox(52.0, 13.0, 53.0, 14.0)
NOW_MS = 1_790_000_000_000


def thing(number: int, **changes: Any) -> dict[str, Any]:
    values = {"name": f"Thing {number}", "url": f"https://things.example/{number}", "temperature": 20}
    properties = values | {key: value for key, value in changes.items() if key != "at"}
    at = changes.get("at", [13.4 + number / 100_000, 52.5])
    return {
        "type": "Feature",
        "id": changes.get("id", f"thing-{number}"),
        "properties": properties,
        "geometry": {"type": "Point", "coordinates": at},
    }


def feed(features: Iterable[dict[str, Any]]) -> str:
    return json.dumps({"type": "FeatureCollection", "features": list(features)}, separators=(",", ":"))


def things(numbers: Iterable[int], **changes: Any) -> str:
    return feed(thing(number, **changes) for number in numbers)


def source_at(url: str) -> str:
    """Return the YAML file of the source."""
    return f"""
name: things
purpose: Imports things.
form: geojson
urls: ["{url}"]
owner: {OWNER}
keywords: ["#all", "#thing"]
schedule: "5 4 * * *"
box: {{south: 52, west: 13, north: 53, east: 14}}
licence: CC0 1.0
attribution: A city
fields:
  text: properties.name
  valid_until: properties.until
  images: [properties.photos]
  extdata: {{link: properties.url, temperature: properties.temperature}}
"""


class KilledAt(StorageClient):
    """A client whose run ends before one of its writes, as a process that is killed."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.writes = 0
        self.killed_at: int | None = None
        self.before_write: Any = None

    async def write_offers(self, **offers: Any) -> int:
        if self.killed_at == self.writes:
            raise Killed
        if self.before_write is not None:
            await self.before_write()
        self.writes += 1
        return await super().write_offers(**offers)


class Killed(BaseException):
    """The process is killed."""


class ImportBench:
    """Runs the importer, and reads what came of it."""

    def __init__(
        self, redis: Redis, shared: SharedStorage, server: HostileServer, fetcher: FeedFetcher, client: KilledAt
    ) -> None:
        self.redis = redis
        self.server = server
        self.tracker = shared.tracker
        self.notifications = shared.notifications
        self.client = client
        self.store = RunStore(redis)
        self.leases = RunLeases(redis)
        self.now_ms = NOW_MS
        self.runner = ImportRunner(self.store, self.leases, client, fetcher, area=AREA, clock=lambda: self.now_ms)
        self.importer = read_source(source_at(server.url()))
        # A new connection for each request: storage may close an idle one just when the next request is sent.
        fresh = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))
        self.http = client_of(shared.environ, SERVICE, transport=fresh)

    def serve(self, text: str, **headers: Any) -> None:
        self.server.responses["/feed"] = reply(text, **headers)

    async def run(self, text: str | None = None, order: RunOrder | None = None) -> RunReport:
        if text is not None:
            self.serve(text)
        return await self.runner.run(self.importer, order)

    async def offers(self, owner: str = OWNER) -> list[dict[str, Any]]:
        found = (await self.http.get(f"/bulk/offers/{owner}")).json()["data"]
        return sorted(found, key=lambda each: str(each["extdata"].get("id")))

    async def ids(self) -> list[str]:
        return [each["extdata"]["id"] for each in await self.offers()]

    async def until_quiet(self, events: int) -> None:
        """Wait for events of storage, and some time more in which further ones would come."""
        await self.tracker.until(events)
        await asyncio.sleep(0.5)
        assert len(self.tracker.requests) == events

    async def until_announced(self, times: int) -> None:
        """Wait for events `bud`, and some time more in which further ones would come."""
        await _until_count(lambda: [kind for _, kind, _ in self.tracker.requests].count("bud"), times)

    async def until_notified(self, times: int) -> None:
        """Wait for notifications of storage, and some time more in which further ones would come."""
        await _until_count(lambda: len(self.notifications.bodies), times)


async def _until_count(count: Callable[[], int], times: int) -> None:
    async with asyncio.timeout(30):
        while count() < times:  # noqa: ASYNC110 - of another thread
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    assert count() == times


@contextlib.asynccontextmanager
async def import_bench(redis_url: str, shared: SharedStorage, **options: Any) -> AsyncIterator[ImportBench]:
    url = f"http://127.0.0.1:{shared.environ['STORAGE_PORT']}"
    async with (
        Redis.from_url(redis_url, decode_responses=True) as redis,
        hostile_server() as server,
        fetching(limits=FetchLimits(attempts=2), **options) as parts,
        KilledAt(url, credentials=SERVICE, timeout_s=60.0) as client,
    ):
        bench = ImportBench(redis, shared, server, parts.fetcher, client)
        try:
            yield bench
        finally:
            await bench.http.aclose()
