"""The phones of the demo, with the body that the notificationserver sends."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from deploy.demo import phones
from deploy.demo.phones import DemoPhones
from deploy.develop.localstack.ports import LOOPBACK, free_port
from deploy.errors import OperatorError
from services.notificationserver.core.callbacks import CONTENT_TYPE, callback_body
from services.notificationserver.core.messages import compose
from services.notificationserver.core.notifications import MatchedObject, MatchNotice, Notification

OFFER = MatchedObject("o1", "bakery", "Fresh bread", 52.5200, 13.4000, 500.0)
SEARCH = MatchedObject("s1", "Ada", "bread", 52.5230, 13.4000, 600.0)


class FakeNotificationserver:
    """Takes registrations, and sends messages to the callbacks of the registered devices."""

    def __init__(self) -> None:
        self.url = f"http://{LOOPBACK}:{free_port()}"
        self.callbacks: dict[str, str] = {}
        self.status = 200

    async def register(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.callbacks[body["device_id"]] = body["callback_url"]
        return web.json_response({"status": "ok"}, status=self.status)

    async def send(self, match_id: str, side: str, *, body: bytes | None = None) -> int:
        owner = {"offer": "bakery", "search": "Ada"}[side]
        message = compose(Notification(match_id, 0, MatchNotice(OFFER, SEARCH)), side, owner, "en")
        headers = {"Content-Type": CONTENT_TYPE}
        async with httpx.AsyncClient() as client:
            content = callback_body(message) if body is None else body
            return (await client.post(self.callbacks[owner], content=content, headers=headers)).status_code


@pytest.fixture
async def server() -> AsyncIterator[FakeNotificationserver]:
    fake = FakeNotificationserver()
    application = web.Application()
    application.router.add_post("/register", fake.register)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, int(fake.url.rpartition(":")[2])).start()
    yield fake
    await runner.cleanup()


@pytest.fixture
async def listening(server: FakeNotificationserver, tmp_path: Path) -> AsyncIterator[DemoPhones]:
    async with DemoPhones(server.url, tmp_path / "messages.log") as listening:
        await listening.register(["bakery", "Ada"])
        yield listening


async def test_each_message_counts_once(listening: DemoPhones, server: FakeNotificationserver, tmp_path: Path) -> None:
    sent = [("s1.o1.1", "offer"), ("s1.o1.1", "search"), ("s1.o1.1", "search"), ("s1.o1.2", "search")]
    assert [await server.send(*each) for each in sent] == [200] * 4
    assert (listening.count, listening.matches) == (3, 2)
    first, second, third = listening.messages
    assert [(each.owner, each.side) for each in (first, second)] == [("bakery", "offer"), ("Ada", "search")]
    assert second.offer_title == "Fresh bread"
    assert second.distance_m == pytest.approx(334, abs=1)
    assert second.at_s == pytest.approx(time.time(), abs=10)
    assert (second.encounter, third.encounter) == (1, 2)
    lines = (tmp_path / "messages.log").read_text().splitlines()
    ids = [json.loads(line)["data[message_id]"] for line in lines]
    assert ids == ["s1.o1.1.offer", "s1.o1.1.search", "s1.o1.2.search"]


async def test_old_messages_are_dropped(
    listening: DemoPhones, server: FakeNotificationserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phones, "_MOST_KEPT", 2)
    for encounter in (1, 2, 3):
        await server.send(f"s1.o1.{encounter}", "search")
    assert listening.count == 3
    assert [message.encounter for message in listening.messages] == [2, 3]


@pytest.mark.parametrize("match_id", ["s1.o1.x", "s1.o1.0"])
async def test_another_id_is_rejected(listening: DemoPhones, server: FakeNotificationserver, match_id: str) -> None:
    assert await server.send(match_id, "search") == 422
    assert listening.count == 0


async def test_another_body_is_rejected(listening: DemoPhones, server: FakeNotificationserver) -> None:
    assert await server.send("s1.o1.1", "search", body=b"msg=hello") == 422
    assert listening.count == 0


async def test_a_refused_registration_is_reported(listening: DemoPhones, server: FakeNotificationserver) -> None:
    server.status = 422
    with pytest.raises(OperatorError, match="did not register Bo"):
        await listening.register(["Bo"])
