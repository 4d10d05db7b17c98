import asyncio
import json
from collections.abc import Callable, Iterator
from itertools import islice

import pytest

from deploy.chaos.load import Answer, Load, Tally, batch, pixel, requests, stored_ids
from deploy.develop.localstack.ports import LOOPBACK

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
BROKEN = b""


async def tally_of(answers: Callable[[int], bytes], *, attempts: int) -> tuple[Tally, list[bytes]]:
    """Send pixels one after the other to a server that gives its n-th answer; stop at the tenth."""
    seen: list[bytes] = []
    enough = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = OK
        while answer != BROKEN:
            try:
                seen.append(await reader.readuntil(b"\r\n\r\n"))
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            answer = answers(len(seen))
            writer.write(answer)
            if len(seen) == 10:
                enough.set()
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    port = server.sockets[0].getsockname()[1]
    load = Load([port], requests("x", batch_every=0), rate=500, connections=1, attempts=attempts, timeout_s=2)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(load.run())
        await enough.wait()
        load.end()
    server.close()
    return load.tally, seen


async def test_only_what_was_answered_2xx_counts_as_answered() -> None:
    tally, seen = await tally_of(lambda number: {2: BUSY, 4: BROKEN}.get(number, OK), attempts=1)
    assert tally.sent == len(seen)
    assert {"x-1", "x-3", "x-5"} <= tally.answered
    assert not {"x-2", "x-4"} & tally.answered
    assert (tally.refused, dict(tally.broken), tally.given_up) == (1, {"IncompleteReadError": 1}, 2)


async def test_a_request_without_an_answer_is_sent_again_under_its_id() -> None:
    tally, seen = await tally_of(lambda number: {2: BROKEN, 3: BUSY}.get(number, OK), attempts=3)
    assert [b"Idempotency-Key: x-2\r\n" in head for head in seen[:5]] == [False, True, True, True, False]
    assert {"x-1", "x-2", "x-3"} <= tally.answered
    assert tally.given_up == 0


async def test_an_answer_that_should_not_be_is_told() -> None:
    tally, _ = await tally_of(lambda number: OK.replace(b"200", b"500") if number == 2 else OK, attempts=1)
    assert dict(tally.other) == {"HTTP 500": 1}
    assert "x-2" not in tally.answered


def test_every_tenth_request_is_a_batch() -> None:
    made = list(islice(requests("x", batch_every=10, batch_events=3), 20))
    assert [len(request.ids) for request in made] == ([1] * 9 + [3]) * 2
    assert len({event_id for request in made for event_id in request.ids}) == 24


def test_of_a_batch_only_the_entries_stored_count() -> None:
    def ids() -> Iterator[str]:
        yield from ("a", "b")

    request = batch(ids())
    results = [{"index": 0, "id": "a", "status": "stored"}, {"index": 1, "id": "b", "status": "refused"}]
    answer = Answer(200, json.dumps({"results": results}).encode(), closes=False)
    assert stored_ids(request, answer) == {"a"}
    assert stored_ids(pixel("c"), Answer(200, b"GIF", closes=False)) == {"c"}


@pytest.mark.parametrize("event_id", ["a", "s7-1-2"])
def test_a_pixel_says_its_id(event_id: str) -> None:
    head = pixel(event_id).message.decode()
    assert head.startswith("GET /t/chaos.gif?di=device-")
    assert f"\r\nIdempotency-Key: {event_id}\r\n" in head
    assert head.endswith("\r\n\r\n")
