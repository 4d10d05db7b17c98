"""Many watchers at once: who reads late costs the others nothing."""

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
async def test_more_watchers_than_may_be_are_told_so(environ: dict[str, str]) -> None:
    async with (
        serving(environ | {"KAFIDX_MAX_WATCHERS": "1"}) as kafidx,
        kafidx.socket("") as first,
        kafidx.socket("") as second,
    ):
        await first.frame("hello")
        error = await second.frame()
        assert (error["kind"], error["parameter"]) == ("error", None)
        assert await second.closed() == 1013


@pytest.mark.usefixtures("own_topics")
async def test_a_watcher_that_never_reads_costs_the_others_nothing(
    environ: dict[str, str], opened: Opened, producer: EventProducer
) -> None:
    count, readers, at_once = 22_000, 19, 500
    small = environ | {"KAFIDX_QUEUE_EVENTS": "2000"}
    async with serving(small) as kafidx, contextlib.AsyncExitStack() as stack:
        reading = [await stack.enter_async_context(kafidx.socket("from=end")) for _ in range(readers)]
        stuck = await stack.enter_async_context(kafidx.socket("from=end"))
        for socket in (*reading, stuck):
            await socket.frame("hello")
        # Rows of half a kilobyte: more than the two ends' kernel buffers and the queue can hold.
        padding = "x" * 450

        # The next rows are produced when the last came: a reader that is slow only because this
        # machine is would lose rows too, as it should, and that isn't what is asked here.
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
