"""A process that runs the importer once, and sends itself a signal before one of its writes.

Arguments: the URL of Redis, of storage, and of the feed, the number of the write, the number of the signal, and maybe
the URL of the imageserver.
"""

import asyncio
import contextlib
import os
import sys
from typing import Any

from redis.asyncio import Redis

from services.backbone.clients import ImageClient, StorageClient
from services.backbone.clock import clock_ms
from services.backbone.outgoing import OutgoingClient
from services.offerserver.handlers.importing import ImportRunner
from services.offerserver.handlers.pictures import PictureLoader
from services.offerserver.importers.configured import read_source
from services.offerserver.providers.fetching import FeedFetcher
from services.offerserver.providers.pictures import PictureFetcher
from services.offerserver.store.leases import LeaseLost, RunLeases
from services.offerserver.store.runs import RunStore
from tests.contract.imageserver.serving import SERVICE as IMAGES
from tests.contract.offerserver.bench import source_at
from tests.contract.storage.api.serving import SERVICE
from tests.unit.offerserver.hostile import AGENT, LOOPBACK, MemoryTurns
from tests.unit.offerserver.reading import AREA

LEASE_S = 1.0
EXIT_LEASE_LOST = 7
SLICE = 15


class SignallingClient(StorageClient):
    """Sends the signal to its own process before a write, and after it if the number is negative."""

    at = 0
    signal = 0
    writes = 0

    async def write_offers(self, **offers: Any) -> int:
        self.writes += 1
        if self.writes == self.at:
            os.kill(os.getpid(), self.signal)
        done = await super().write_offers(**offers)
        if self.writes == -self.at:
            os.kill(os.getpid(), self.signal)
        return done


async def main(redis_url: str, storage_url: str, feed_url: str, at: str, signal: str, *images_url: str) -> None:
    async with (
        Redis.from_url(redis_url, decode_responses=True) as redis,
        SignallingClient(storage_url, credentials=SERVICE, timeout_s=60.0) as client,
        OutgoingClient(timeout_s=5.0, allowed=LOOPBACK) as outgoing,
        contextlib.AsyncExitStack() as parts,
    ):
        client.at, client.signal = int(at), int(signal)
        fetcher = FeedFetcher(outgoing, MemoryTurns(), user_agent=AGENT)
        leases = RunLeases(redis, lease_s=LEASE_S)
        runner = ImportRunner(RunStore(redis), leases, client, fetcher, area=AREA, clock=clock_ms, slice_size=SLICE)
        for url in images_url:
            images = await parts.enter_async_context(ImageClient(url, credentials=IMAGES))
            pictures = PictureFetcher(outgoing, MemoryTurns(), user_agent=AGENT, delay_s=0.0, max_bytes=100_000)
            runner.pictures = PictureLoader(pictures, images, longest_s=60.0)
        try:
            await runner.run(read_source(source_at(feed_url)))
        except LeaseLost:
            sys.exit(EXIT_LEASE_LOST)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
