import contextlib
import gzip
import time
from collections.abc import AsyncIterator

import pytest

from services.backbone.outgoing import OutgoingClient, OutgoingDownload
from services.offerserver.providers.robots import ROBOTS_LIMITS, RobotsDisallowed, RobotsRules, RobotsUnread
from tests.unit.offerserver.hostile import LOOPBACK, HostileServer, hostile_server, reply


@contextlib.asynccontextmanager
async def reading() -> AsyncIterator[RobotsRules]:
    async with OutgoingClient(timeout_s=3.0, allowed=LOOPBACK) as client:

        async def download(url: str) -> OutgoingDownload:
            return await client.download("GET", url, limits=ROBOTS_LIMITS)

        yield RobotsRules(download)


async def check(server: HostileServer, path: str = "/page") -> float:
    async with reading() as rules:
        return await rules.check(server.url(path))


async def test_own_group_comes_before_that_of_all() -> None:
    async with hostile_server() as server:
        server.responses["/robots.txt"] = reply("User-agent: *\nDisallow: /\n\nUser-agent: push-offers\nDisallow: /x\n")
        assert await check(server) == 0.0
        with pytest.raises(RobotsDisallowed, match="does not permit this page"):
            await check(server, "/x/1")


async def test_delay_is_bounded() -> None:
    async with hostile_server() as server:
        server.responses["/robots.txt"] = reply("User-agent: *\nCrawl-delay: 86400\n")
        assert await check(server) == 30.0


@pytest.mark.parametrize("status", [404, 403, 410])
async def test_host_without_rules_permits_everything(status: int) -> None:
    async with hostile_server() as server:
        server.responses["/robots.txt"] = reply("Disallow: /", status=status)
        assert await check(server) == 0.0


@pytest.mark.parametrize("response", [reply(status=500), reply(status=429), b"nonsense", reply("a: b", length=99)])
async def test_host_whose_rules_cannot_be_read_permits_nothing(response: bytes) -> None:
    async with hostile_server() as server:
        server.responses["/robots.txt"] = response
        with pytest.raises(RobotsUnread, match=r"robots\.txt can't be read"):
            await check(server)


async def test_host_can_ask_to_wait_before_its_rules_are_read() -> None:
    async with hostile_server() as server:
        server.responses["/robots.txt"] = reply(status=503, Retry_After="7")
        with pytest.raises(RobotsUnread) as caught:
            await check(server)
        assert caught.value.wait_s == 7.0


@pytest.mark.parametrize("name", ["me", "contact", "example", "https", "offers"])
async def test_groups_of_others_do_not_match_the_contact(name: str) -> None:
    async with hostile_server() as server:
        server.responses["/robots.txt"] = reply(f"User-agent: {name}\nDisallow: /\n")
        assert await check(server) == 0.0


@pytest.mark.parametrize("name", ["*", "push-offers", "Push-Offers", "push-offers*", "push-offers # ours"])
async def test_own_group_is_found_after_a_byte_order_mark(name: str) -> None:
    async with hostile_server() as server:
        server.responses["/robots.txt"] = reply(f"\ufeffUser-agent: {name}\nDisallow: /\n")
        with pytest.raises(RobotsDisallowed):
            await check(server)


@pytest.mark.parametrize("is_compressed", [False, True])
async def test_begin_of_a_large_file_has_the_rules(*, is_compressed: bool) -> None:
    rules = ("User-agent: *\nDisallow: /x\n" + "Disallow: /page/" + "y" * 999 + "\n") * 1_000
    response = reply(gzip.compress(rules.encode()), Content_Encoding="gzip") if is_compressed else reply(rules)
    async with hostile_server() as server:
        server.responses["/robots.txt"] = response
        assert await check(server, "/page/yyy") == 0.0
        with pytest.raises(RobotsDisallowed, match="does not permit this page"):
            await check(server, "/x/1")


async def test_many_groups_of_others_take_no_time() -> None:
    async with hostile_server() as server:
        names = "".join(f"User-agent: {number}\n" for number in range(14_000))
        server.responses["/robots.txt"] = reply(names + "Disallow: /x\n" * 20_000)
        began_s = time.monotonic()
        assert await check(server) == 0.0
        assert time.monotonic() - began_s < 3.0


async def test_redirect_of_the_rules_is_followed() -> None:
    async with hostile_server() as server:
        server.responses["/robots.txt"] = reply(status=301, Location="/rules")
        server.responses["/rules"] = reply("User-agent: *\nDisallow: /page\n")
        with pytest.raises(RobotsDisallowed):
            await check(server)


async def test_rules_of_a_host_are_read_once() -> None:
    async with hostile_server() as server, reading() as rules:
        server.responses["/robots.txt"] = reply("User-agent: *\nDisallow: /x\n")
        for _ in range(3):
            await rules.check(server.url("/page"))
        assert [each.path for each in server.requests] == ["/robots.txt"]
