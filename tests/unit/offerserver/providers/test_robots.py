import pytest

from services.backbone.outgoing import OutgoingClient
from services.offerserver.providers.robots import RobotsDisallowed, RobotsRules
from tests.unit.offerserver.hostile import AGENT, LOOPBACK, HostileServer, hostile_server, reply


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


async def check(server: HostileServer, path: str = "/page") -> float:
    async with OutgoingClient(timeout_s=3.0, allowed=LOOPBACK) as client:
        return await RobotsRules(client, AGENT, clock_s=Clock()).check(server.url(path))


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


@pytest.mark.parametrize("response", [reply(status=500), reply(status=429), b"nonsense", reply(b"x" * 600_000)])
async def test_host_whose_rules_cannot_be_read_permits_nothing(response: bytes) -> None:
    async with hostile_server() as server:
        server.responses["/robots.txt"] = response
        with pytest.raises(RobotsDisallowed, match=r"robots\.txt can't be read"):
            await check(server)


async def test_redirect_of_the_rules_is_followed() -> None:
    async with hostile_server() as server:
        server.responses["/robots.txt"] = reply(status=301, Location="/rules")
        server.responses["/rules"] = reply("User-agent: *\nDisallow: /page\n")
        with pytest.raises(RobotsDisallowed):
            await check(server)


async def test_rules_are_read_once_an_hour() -> None:
    clock = Clock()
    async with hostile_server() as server, OutgoingClient(timeout_s=3.0, allowed=LOOPBACK) as client:
        server.responses["/robots.txt"] = reply("")
        rules = RobotsRules(client, AGENT, clock_s=clock)
        for seconds in (0, 3_599, 2):
            clock.now_s += seconds
            await rules.check(server.url())
        assert len(server.requests) == 2
