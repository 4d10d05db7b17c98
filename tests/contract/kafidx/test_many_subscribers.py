"""Many subscribers at once: a slow one does not affect the others."""

import asyncio
import contextlib

import pytest

from services.backbone.kafka import EventProducer
from tests.contract.kafidx.serving import (
    Opened,
    balanced,
    each_once_in_order,
    event,
    numbers,
    produce,
    serving,
)


@pytest.mark.usefixtures("own_topics")
async def test_subscriber_above_the_limit_is_refused_with_a_reason(environ: dict[str, str]) -> None:
    async with (
        serving(environ | {"KAFIDX_MAX_SUBSCRIBERS": "1"}) as kafidx,
        kafidx.socket("") as first,
        kafidx.socket("") as second,
    ):
        await first.frame("hello")
        error = await second.frame()
        assert (error["kind"], error["parameter"]) == ("error", None)
        assert await second.closed() == 1013


@pytest.mark.usefixtures("own_topics")
async def test_subscriber_that_never_reads_does_not_affect_the_others(
    environ: dict[str, str], opened: Opened, producer: EventProducer
) -> None:
    count, readers, at_once = 22_000, 19, 500
    small = environ | {"KAFIDX_QUEUE_EVENTS": "2000"}
    async with serving(small) as kafidx, contextlib.AsyncExitStack() as stack:
        reading = [await stack.enter_async_context(kafidx.socket("from=end")) for _ in range(readers)]
        stuck = await stack.enter_async_context(kafidx.socket("from=end"))
        for socket in (*reading, stuck):
            await socket.frame("hello")
        # Rows of half a kilobyte: in all more than the queue and the kernel's socket buffers can hold.
        padding = "x" * 450

        # Produce the next rows after the last ones have arrived. Otherwise all readers lose rows on a slow machine.
        # That is correct, but not the subject of this test.
        for begin in range(0, count, at_once):
            end = begin + at_once
            await produce(producer, [event(n, params=f"n={n}&pad={padding}") for n in range(begin, end)])
            await asyncio.gather(*(socket.rows_until(end) for socket in reading))
        assert opened.readers == 1
        for socket in reading:
            await socket.until(count)
            assert sorted(numbers(socket.rows)) == list(range(count))
            each_once_in_order(socket.rows)
        stats = await stuck.frame("stats")
        while stats["queued"] or stats["matched"] < count:
            balanced(stats)
            stats = await stuck.frame("stats")
        balanced(stats)
        assert stats["dropped"] > 0
        assert (stats["matched"], stats["sent"]) == (count, len(stuck.rows))
        assert len({(row["p"], row["o"]) for row in stuck.rows}) == len(stuck.rows)
