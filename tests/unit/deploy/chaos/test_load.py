import asyncio
import json
from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from deploy.chaos.load import ChaosLoad, LoadCounts, LoadResponse, batch, pixel, requests, stored_ids
from deploy.develop.localstack.ports import LOOPBACK

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
BROKEN = b""


async def counts_of(responses: Callable[[int], bytes], *, attempts: int) -> tuple[LoadCounts, list[bytes]]:
    """Send pixels one after the other to a server with these responses. Stop after the tenth."""
    seen: list[bytes] = []
    enough = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        response = OK
        while response != BROKEN:
            try:
                seen.append(await reader.readuntil(b"\r\n\r\n"))
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            response = responses(len(seen))
            writer.write(response)
            if len(seen) == 10:
                enough.set()
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]
    load = ChaosLoad([port], requests("x", batch_every=0), rate=500, connections=1, attempts=attempts, timeout_s=2)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(load.run())
        await enough.wait()
        load.end()
    server.close()
    return load.counts, seen


async def test_only_requests_with_a_2xx_response_count_as_acknowledged() -> None:
    counts, seen = await counts_of(lambda number: {2: BUSY, 4: BROKEN}.get(number, OK), attempts=1)
    assert counts.sent == len(seen)
    assert {"x-1", "x-3", "x-5"} <= counts.acknowledged
    assert not {"x-2", "x-4"} & counts.acknowledged
    assert (counts.refused, dict(counts.broken), counts.given_up) == (1, {"IncompleteReadError": 1}, 2)


async def test_request_without_a_response_is_sent_again_with_its_id() -> None:
    counts, seen = await counts_of(lambda number: {2: BROKEN, 3: BUSY}.get(number, OK), attempts=3)
    assert [b"Idempotency-Key: x-2\r\n" in head for head in seen[:5]] == [False, True, True, True, False]
    assert {"x-1", "x-2", "x-3"} <= counts.acknowledged
    assert counts.given_up == 0


async def test_unexpected_response_is_counted() -> None:
    counts, _ = await counts_of(lambda number: OK.replace(b"200", b"500") if number == 2 else OK, attempts=1)
    assert dict(counts.other) == {"HTTP 500": 1}
    assert "x-2" not in counts.acknowledged


def test_every_tenth_request_is_a_batch() -> None:
    made = list(islice(requests("x", batch_every=10, batch_events=3), 20))
    assert [len(request.ids) for request in made] == ([1] * 9 + [3]) * 2
    assert len({event_id for request in made for event_id in request.ids}) == 24


def test_only_stored_entries_of_a_batch_count() -> None:
    def ids() -> Iterator[str]:
        yield from ("a", "b")

    request = batch(ids())
    results = [{"index": 0, "id": "a", "status": "stored"}, {"index": 1, "id": "b", "status": "refused"}]
    response = LoadResponse(200, json.dumps({"results": results}).encode(), closes=False)
    assert stored_ids(request, response) == {"a"}
    assert stored_ids(pixel("c"), LoadResponse(200, b"GIF", closes=False)) == {"c"}


@pytest.mark.parametrize("event_id", ["a", "s7-1-2"])
def test_pixel_contains_its_id(event_id: str) -> None:
    head = pixel(event_id).message.decode()
    assert head.startswith("GET /t/chaos.gif?di=device-")
    assert f"\r\nIdempotency-Key: {event_id}\r\n" in head
    assert head.endswith("\r\n\r\n")
