"""The notification log, with the client that storage uses."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from deploy.demo import notification_log
from deploy.demo.notification_log import NotificationLog
from deploy.develop.localstack.ports import LOOPBACK, free_port
from services.backbone.clients import MatchNotification, NotificationClient, NotifiedObject

OFFER = NotifiedObject("o1", "bakery", "Fresh bread", 52.5200, 13.4000, 500.0)
SEARCH = NotifiedObject("s1", "Ada", "bread", 52.5230, 13.4000, 600.0)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
async def log(port: int, tmp_path: Path) -> AsyncIterator[NotificationLog]:
    async with NotificationLog(LOOPBACK, port, tmp_path / "notifications.log") as log:
        yield log


@pytest.fixture
async def client(port: int) -> AsyncIterator[NotificationClient]:
    async with NotificationClient(f"http://{LOOPBACK}:{port}") as client:
        yield client


async def test_each_notification_counts_once(log: NotificationLog, client: NotificationClient, tmp_path: Path) -> None:
    for name in ("s1.o1.1", "s1.o1.1", "s1.o1.2"):
        await client.notify(MatchNotification(name, offer=OFFER, search=SEARCH))
    assert log.count == 2
    first, second = log.matches
    assert (first.search_owner, first.offer_owner, first.offer_title) == ("Ada", "bakery", "Fresh bread")
    assert first.distance_m == pytest.approx(334, abs=1)
    assert first.at_s == pytest.approx(time.time(), abs=10)
    assert (first.encounter, second.encounter) == (1, 2)
    lines = (tmp_path / "notifications.log").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["s1.o1.1", "s1.o1.2"]


async def test_old_notifications_are_dropped(
    log: NotificationLog, client: NotificationClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notification_log, "_MOST_KEPT", 2)
    for encounter in (1, 2, 3):
        await client.notify(MatchNotification(f"s1.o1.{encounter}", offer=OFFER, search=SEARCH))
    assert log.count == 3
    assert [found.encounter for found in log.matches] == [2, 3]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"id": "s.o.x", "offer": {}, "search": {}}'])
async def test_a_notification_that_breaks_the_contract_is_rejected(
    log: NotificationLog, port: int, body: bytes
) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.post(f"http://{LOOPBACK}:{port}/notify", content=body)
    assert response.status_code == 422
    assert log.count == 0
