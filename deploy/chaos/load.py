"""The load: clients that send events at a fixed rate and remember which were acknowledged with 2xx.

It uses plain sockets: an HTTP library with its own retries would hide failures.
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from deploy.develop.localstack.ports import LOOPBACK

_LONGEST_DELAY_S = 0.5
"""The maximum delay of a request behind its schedule. After a longer delay, the schedule moves, so no burst follows."""
_PAUSE_AFTER_FAILURE_S = 0.05


class LoadRequest(NamedTuple):
    """One request and the ids of the events in it."""

    message: bytes
    ids: tuple[str, ...]


class LoadCounts:
    """The counts of requests by result."""

    def __init__(self) -> None:
        self.sent = 0
        """Attempts to send a request."""
        self.acknowledged: set[str] = set()
        """Ids of events with a 2xx response: the system must not lose them."""
        self.refused = 0
        """Responses with status 503."""
        self.broken: Counter[str] = Counter()
        """Attempts without a response, by reason."""
        self.other: Counter[str] = Counter()
        """Unexpected results: statuses other than 2xx and 503, and batch entries that were not stored."""
        self.given_up = 0
        """Requests that never got a 2xx response."""


def requests(prefix: str, *, batch_every: int = 10, batch_events: int = 5) -> Iterator[LoadRequest]:
    """Yield requests without end: GETs with an Idempotency-Key.

    Every `batch_every`-th request is a POST /batch instead. With 0, all requests are GETs. The ids begin with `prefix`.
    """
    number = 0
    while True:
        number += 1
        if batch_every and number % batch_every == 0:
            yield batch(f"{prefix}-{number}-{entry}" for entry in range(batch_events))
        else:
            yield pixel(f"{prefix}-{number}")


def pixel(event_id: str) -> LoadRequest:
    """Return a GET of a pixel from one of fifty devices. Together, the devices use all partitions."""
    device = sum(event_id.encode()) % 50
    head = f"GET /t/chaos.gif?di=device-{device} HTTP/1.1\r\nHost: trk.example\r\nIdempotency-Key: {event_id}\r\n\r\n"
    return LoadRequest(head.encode(), (event_id,))


def batch(event_ids: Iterator[str]) -> LoadRequest:
    """Return a POST /batch with an entry for each id."""
    ids = tuple(event_ids)
    body = json.dumps({"events": [{"type": "chaos", "id": event_id, "params": {"di": event_id}} for event_id in ids]})
    head = (
        "POST /batch HTTP/1.1\r\nHost: trk.example\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return LoadRequest(head.encode() + body.encode(), ids)


class LoadResponse(NamedTuple):
    """One HTTP response."""

    status: int
    body: bytes
    closes: bool
    """Whether the response has the header `Connection: close`."""


async def read_response(reader: asyncio.StreamReader) -> LoadResponse:
    """Read one response with a Content-Length.

    Raises OSError or asyncio.IncompleteReadError when it is incomplete.
    """
    head = await reader.readuntil(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return LoadResponse(int(status_line.split(" ")[1]), body, headers.get("connection", "").lower() == "close")


def stored_ids(request: LoadRequest, response: LoadResponse) -> set[str]:
    """Return the ids of a request's events that a 2xx response acknowledges."""
    if not request.message.startswith(b"POST /batch"):
        return set(request.ids)
    results = json.loads(response.body)["results"]
    return {result["id"] for result in results if result["status"] == "stored"}


class ChaosLoad:
    """Sends `source` to trackers on `ports` of loopback at `rate` requests a second while `run` runs."""

    def __init__(  # noqa: PLR0913 - the parameters of a load
        self,
        ports: Sequence[int],
        source: Iterator[LoadRequest],
        *,
        rate: float,
        connections: int = 16,
        attempts: int = 3,
        timeout_s: float = 5.0,
    ) -> None:
        """Run `connections` clients. Each client keeps a connection to every port.

        A client sends a request without a 2xx response again, with the same ids, to the next port. It makes at most
        `attempts` attempts. An attempt fails after `timeout_s`.
        """
        self.counts = LoadCounts()
        self._ports = ports
        self._source = source
        self._interval_s = 1 / rate
        self._connections = connections
        self._attempts = attempts
        self._timeout_s = timeout_s
        self._due_s = 0.0
        self._ending = False

    async def run(self) -> None:
        """Send until `end` is called."""
        self._due_s = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as clients:
            for number in range(self._connections):
                clients.create_task(self._client(number))

    def end(self) -> None:
        """Start no new request. `run` returns when all requests in flight are finished."""
        self._ending = True

    async def _client(self, number: int) -> None:
        connections = [_Connection(port) for port in self._ports]
        try:
            while not self._ending:
                await self._wait_for_turn()
                await self._deliver(next(self._source), connections, number)
        finally:
            for connection in connections:
                connection.close()

    async def _wait_for_turn(self) -> None:
        now_s = asyncio.get_running_loop().time()
        self._due_s = max(self._due_s + self._interval_s, now_s - _LONGEST_DELAY_S)
        await asyncio.sleep(max(0.0, self._due_s - now_s))

    async def _deliver(self, request: LoadRequest, connections: "list[_Connection]", first: int) -> None:
        for attempt in range(self._attempts):
            if await self._attempt(request, connections[(first + attempt) % len(connections)]):
                return
            await asyncio.sleep(_PAUSE_AFTER_FAILURE_S)
        self.counts.given_up += 1

    async def _attempt(self, request: LoadRequest, connection: "_Connection") -> bool:
        """Send the request once. Return whether all of its events were acknowledged."""
        counts = self.counts
        counts.sent += 1
        try:
            response = await asyncio.wait_for(connection.ask(request.message), self._timeout_s)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            counts.broken[type(error).__name__] += 1
            connection.close()
            return False
        if response.status == 503:  # noqa: PLR2004 - an HTTP status
            counts.refused += 1
            return False
        if not 200 <= response.status < 300:  # noqa: PLR2004 - as above
            counts.other[f"HTTP {response.status}"] += 1
            return False
        stored = stored_ids(request, response)
        counts.acknowledged |= stored
        if len(stored) != len(request.ids):
            counts.other["entry not stored"] += len(request.ids) - len(stored)
        return True


class _Connection:
    """A persistent connection, which is opened again when the server has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, message: bytes) -> LoadResponse:
        if self._streams is None or self._streams[0].at_eof():  # the server closed it while it was idle
            self.close()
            self._streams = await asyncio.open_connection(LOOPBACK, self._port)
        reader, writer = self._streams
        writer.write(message)
        await writer.drain()
        response = await read_response(reader)
        if response.closes:
            self.close()
        return response

    def close(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            with contextlib.suppress(OSError):
                streams[1].transport.abort()
