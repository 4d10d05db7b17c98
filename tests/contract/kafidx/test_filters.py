"""Filters of a live view, and the response to an invalid query."""

from typing import Any

import pytest

from services.backbone.kafka import EventProducer
from tests.contract.kafidx.serving import BAD_QUERY, Kafidx, balanced, event, numbers, produce


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("type=offr", lambda n: n % 3 == 2),
        ("filter=offr", lambda n: n % 3 == 2),
        ("type=offr,view&country=at", lambda n: n % 3 != 1 and n % 2 == 0),
        ("device=phone", lambda n: n % 5 != 0),
        ("bot=yes", lambda n: n % 5 == 0),
        ("bot=no&country=DE", lambda n: n % 5 and n % 2),
        ("text=N%3D7%26", lambda n: n == 7),
        ("where=klag+%3E+295&where=country+!=+DE", lambda n: n % 300 > 295 and n % 2 == 0),
        ("where=params.q+~+BIKE&where=n+=+12", lambda n: n == 12),
        ("where=ip+=+203.0.113.0&where=nothing+=+1", lambda _: False),
        ("where=nothing+!=+1&where=type+=+click", lambda n: n % 3 == 1),
    ],
)
async def test_server_sends_only_matching_events(
    kafidx: Kafidx, producer: EventProducer, query: str, expected: Any
) -> None:
    await produce(producer, [event(number) for number in range(600)])
    async with kafidx.socket(f"from=beginning&{query}") as socket:
        await socket.frame("caught_up")
        stats = await socket.frame("stats")
    assert sorted(numbers(socket.rows)) == [number for number in range(600) if expected(number)]
    assert stats["seen"] == 600
    balanced(stats)


@pytest.mark.parametrize(
    ("query", "parameter", "position"),
    [
        ("where=klag+100", "where", 5),
        ("where=klag+%3E+much", "where", 7),
        ("where==3", "where", 0),
        ("device=phone,fridge", "device", 6),
        ("country=DE,Germany", "country", 3),
        ("partition=0,x", "partition", 2),
        ("bot=maybe", "bot", 0),
        ("topic=offsets", "topic", 0),
        ("from=yesterday", "from", 0),
        ("from=last:many", "from", 5),
        ("from=offset:0:1,1", "from", 12),
        ("from=time:noon", "from", 5),
        ("gid=kafidx-XYZ-1", "gid", 0),
        ("text=" + "x" * 300, "text", 200),
    ],
)
async def test_invalid_query_is_refused_with_position_and_reason(
    kafidx: Kafidx, query: str, parameter: str, position: int
) -> None:
    async with kafidx.socket(query) as socket:
        error = await socket.frame()
        assert (error["kind"], error["parameter"], error["position"]) == ("error", parameter, position)
        assert error["reason"]
        assert await socket.closed() == BAD_QUERY
    status, page, _ = await kafidx.get(f"/kafidx?{query}")
    assert status == 400
    assert f'data-parameter="{parameter}"' in page
