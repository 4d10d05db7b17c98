from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from services.backbone.outgoing import OutgoingClient
from services.offerserver.providers.pictures import PictureFetcher, PictureNotFetched
from tests.unit.offerserver.hostile import AGENT, LOOPBACK, HostileServer, MemoryTurns, hostile_server, reply


class Parts(NamedTuple):
    fetcher: PictureFetcher
    server: HostileServer
    turns: MemoryTurns


@pytest.fixture
async def parts() -> AsyncIterator[Parts]:
    turns = MemoryTurns()
    async with hostile_server() as server, OutgoingClient(timeout_s=1.0, allowed=LOOPBACK) as client:
        yield Parts(PictureFetcher(client, turns, user_agent=AGENT, delay_s=2.0, max_bytes=1_000), server, turns)


async def test_picture_is_fetched_in_the_turn_of_its_host(parts: Parts) -> None:
    parts.server.responses = {"/a": reply("", 302, Location="/b"), "/b": reply(b"\x89PNG")}
    assert await parts.fetcher.fetch(parts.server.url("/a")) == b"\x89PNG"
    assert parts.turns.delays == [2.0, 2.0]
    headers = parts.server.requests[0].headers
    assert (headers["user-agent"], headers["accept"]) == (AGENT, "image/*")


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (reply("", 404), "status 404"),
        (reply("", 302), "status 302"),
        (reply(b"x" * 1_001), "more than 1000 bytes"),
        (reply(b"x", length=5), "ended early"),
        (reply("", 302, Location="http://[::1"), "the redirect is refused"),
        (reply("", 302, Location="ftp://things.example/x"), "must begin with http"),
        (reply("", 302, Location="http://192.168.1.1/x"), "192.168.1.1"),
        (reply("", 307, Location="/a"), "more than 5 redirects"),
    ],
)
async def test_other_responses_are_no_picture(parts: Parts, response: bytes, reason: str) -> None:
    parts.server.responses = {"/a": response}
    with pytest.raises(PictureNotFetched, match=reason.replace("(", r"\(")):
        await parts.fetcher.fetch(parts.server.url("/a"))


async def test_wait_that_the_source_asks_for_is_returned(parts: Parts) -> None:
    parts.server.responses = {"/a": reply("", 429, Retry_After="120")}
    with pytest.raises(PictureNotFetched) as caught:
        await parts.fetcher.fetch(parts.server.url("/a"))
    assert caught.value.wait_s == 120.0
