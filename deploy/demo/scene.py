"""The scene of the demo: the offers and searches of the sample in a running storage. Some of them move."""

import asyncio
import time
from collections import Counter
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

import aiohttp

from deploy.demo.sample import DemoSample, Point, SampleObject, read_sample
from deploy.operate.access_log import TrackingRequest
from deploy.operate.send import SendCounts, send

_FIX_S: Final = 2.0
_SPEED_M_S: Final = 7.0
"""The speed of a bicycle. A walk past an offer would take minutes."""
_ACCURACY_M: Final = 12
_ADDRESS: Final = "79.192.0.17"
"""An address of a large network in Germany. The demo sends nothing to it."""
_TIMEOUT_S: Final = 10.0


class DemoScene:
    """Posts the objects and moves those with a route. Use it as an async context manager.

    Requests that fail are counted in `failures`; none is repeated.
    """

    def __init__(
        self, storage_url: str, tracker_url: str, *, sent: SendCounts, sample: DemoSample | None = None
    ) -> None:
        """`sent` counts the events of location fixes."""
        self.sample = sample or read_sample()
        self.posted: Counter[str] = Counter()
        """The objects that storage has created, by collection. Each owes one event to the tracker."""
        self.owners: dict[str, str] = {}
        """The owner of each created object, by its id."""
        self.failures: Counter[str] = Counter()
        """The requests to storage without a 2xx response, by HTTP status or by the class of the network error."""
        self._storage_url = storage_url
        self._tracker_url = tracker_url
        self._sent = sent

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def run(self) -> None:
        """Post the objects, then send a location fix for each moving one every two seconds, without end."""
        await self.post()
        begun_s = time.monotonic()
        while True:
            await asyncio.sleep(_FIX_S)
            await self.move(_SPEED_M_S * (time.monotonic() - begun_s))

    async def post(self) -> None:
        """Create all objects, the offers first."""
        for found in self.sample.objects:
            created = await self._post(f"/{found.collection}", found.document())
            if created is not None:
                self.posted[found.collection] += 1
                self.owners[created["_id"]] = found.owner

    async def move(self, travelled_m: float) -> None:
        """Send a fix for each moving object, as its phone does: an event, which geo_updates passes to storage."""
        requests = [_geo_event(found, found.location(travelled_m)) for found in self.sample.mobile]
        await send(requests, self._tracker_url, counts=self._sent, connections=len(requests))

    async def _post(self, path: str, document: dict[str, Any]) -> dict[str, Any] | None:
        """Return the response, or None without a 2xx."""
        try:
            async with self._session.post(f"{self._storage_url}{path}", json=document) as response:
                if response.ok:
                    content: dict[str, Any] = await response.json()
                    return content
                self.failures[f"HTTP {response.status}"] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            self.failures[type(error).__name__] += 1
        return None


def _geo_event(found: SampleObject, location: Point) -> TrackingRequest:
    latitude, longitude = location
    fix = {"di": found.owner, "lt": f"{latitude:.6f}", "lg": f"{longitude:.6f}", "a": str(_ACCURACY_M)}
    return TrackingRequest(f"/t/geo?{urlencode(fix)}", _ADDRESS)
