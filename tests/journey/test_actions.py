"""The whole loop: a posted object becomes an event, match_notifier has it matched, and both sides get a message."""

import asyncio
import random
import re
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator

import aiohttp
import pytest
from rich.console import Console

from deploy.demo.phones import DemoPhones
from deploy.demo.sample import Pair
from deploy.demo.scene import DemoScene
from deploy.demo.system import running_system
from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaKind
from deploy.develop.localstack.mongo import MongoKind
from deploy.operate.send import SendCounts
from services.backbone import names
from services.backbone.events import Event, encode_event
from services.backbone.kafka import EventProducer, Record
from services.backbone.settings import KafkaSettings

PAIRS = 40
PAUSE_S = 0.25
"""Between two offers. Ten offers a second keep both cores of a small machine busy, and then work waits."""
MOST_P95_S = 1.0


@pytest.fixture(scope="module")
def system(kafka_kind: KafkaKind, mongo_kind: MongoKind) -> Iterator[LocalStack]:
    without_events = {"MATCH_GRACE_S": "3600"}  # without its event, an object would wait for an hour
    with running_system(kafka=kafka_kind, mongo=mongo_kind, console=Console(quiet=True), env=without_events) as stack:
        stack.wait_until_ready()
        yield stack


@pytest.fixture
async def phones(system: LocalStack) -> AsyncIterator[DemoPhones]:
    assert system.notify_url is not None
    async with DemoPhones(system.notify_url, system.log_directory / "messages.log") as opened:
        yield opened


def document(owner: str, number: int) -> dict[str, object]:
    """Return an object at a place of its own, so that each offer matches one search."""
    point = {"type": "Point", "coordinates": [13.0 + number / 10, 52.5]}
    return {"owner": owner, "keywords": ["tea"], "location": point, "radiusMeters": 500, "text": owner}


def metric(system: LocalStack, label: str, name: str) -> float:
    """Return the sum of a metric of a service."""
    found = re.findall(rf"^{name}{{[^}}]*}} (\S+)$", system.service(label).metrics(), re.MULTILINE)
    return sum(float(value) for value in found)


@pytest.mark.measures
@pytest.mark.slow
async def test_both_sides_are_notified_once_within_a_second(
    system: LocalStack, phones: DemoPhones, capsys: pytest.CaptureFixture[str]
) -> None:
    await phones.register([f"{side}-{number}" for side in ("searcher", "baker") for number in range(PAIRS)])
    posted_s: dict[str, float] = {}
    async with aiohttp.ClientSession(base_url=system.storage_url) as storage:
        for number in range(PAIRS):
            async with storage.post("/searches", json=document(f"searcher-{number}", number)) as response:
                response.raise_for_status()
        await asyncio.sleep(5)  # until the searches are matched
        for number in range(PAIRS):
            posted_s[f"searcher-{number}"] = posted_s[f"baker-{number}"] = time.time()
            async with storage.post("/offers", json=document(f"baker-{number}", number)) as response:
                response.raise_for_status()
            await asyncio.sleep(PAUSE_S)
    await eventually(lambda: phones.count >= 2 * PAIRS)
    assert sorted(message.owner for message in phones.messages) == sorted(posted_s)
    took_s = [message.at_s - posted_s[message.owner] for message in phones.messages]
    p95_s = statistics.quantiles(took_s, n=20)[-1]
    with capsys.disabled():
        sys.stdout.write(f"\nfrom POST to the receiver: p50 {statistics.median(took_s):.3f} s, p95 {p95_s:.3f} s\n")
    assert p95_s < MOST_P95_S
    handlers = ("consumers.geo_updates", "consumers.match_notifier", "consumers.bulk_data")
    assert sum(metric(system, handler, "push_action_dead_total") for handler in handlers) == 0


@pytest.mark.slow
async def test_device_that_enters_is_notified_once(system: LocalStack, phones: DemoPhones) -> None:
    assert system.storage_url is not None
    sent = SendCounts()
    async with DemoScene(system.storage_url, system.tracker_url, sent=sent) as scene:
        await phones.register(found.owner for found in scene.sample.objects)
        await scene.post()
        await _wait_for(phones, scene, scene.sample.pairs())
        await scene.move(900.0)
        await _wait_for(phones, scene, scene.sample.pairs() | scene.sample.pairs(900.0))
        await scene.move(900.0)
        await asyncio.sleep(2)
    found = [(message.match_id, message.side) for message in phones.messages if message.encounter == 1]
    assert len(found) == len(set(found)) == len(phones.messages)


async def _wait_for(phones: DemoPhones, scene: DemoScene, expected: set[Pair]) -> None:
    def have_arrived() -> bool:
        ids = (message.match_id.split(".") for message in phones.messages if message.side == "search")
        owners = scene.owners
        return expected <= {Pair(owners.get(search, ""), owners.get(offer, "")) for search, offer, _ in ids}

    await eventually(have_arrived)


async def eventually(condition: Callable[[], bool], *, limit_s: float = 60.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - a condition of other processes
            await asyncio.sleep(0.05)


FIXES_PER_S = 2_000


@pytest.mark.measures
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("devices", "seconds"), [(200, 10), pytest.param(500, 60, marks=pytest.mark.endurance)])
async def test_many_fixes_are_folded_and_the_newest_wins(
    system: LocalStack, capsys: pytest.CaptureFixture[str], devices: int, seconds: int
) -> None:
    before = metric(system, "consumers.geo_updates", "push_action_sent_total")
    async with aiohttp.ClientSession(base_url=system.storage_url) as storage:
        ids: dict[str, str] = {}
        for number in range(devices):
            body = document(f"phone-{number}-{devices}", 0) | {"isMobile": True, "keywords": [f"none-{number}"]}
            async with storage.post("/searches", json=body | {"showLocation": True}) as response:
                ids[f"phone-{number}-{devices}"] = (await response.json())["_id"]
        newest = await _send_fixes(system, list(ids), seconds)
        await eventually(
            lambda: metric(system, "consumers.geo_updates", "push_action_oldest_seconds") == 0, limit_s=200
        )
        await asyncio.sleep(2)
        await eventually(lambda: metric(system, "consumers.geo_updates", "push_action_lag_events") == 0, limit_s=200)
        for device, latitude in newest.items():
            async with storage.get(f"/searches/{ids[device]}") as response:
                found = (await response.json())["data"][0]["location"]["coordinates"][1]
            assert found == pytest.approx(latitude), device
    calls = metric(system, "consumers.geo_updates", "push_action_sent_total") - before
    with capsys.disabled():
        sys.stdout.write(f"\n{FIXES_PER_S * seconds:,} fixes of {devices} devices: {calls:,.0f} requests to storage\n")
    assert calls < FIXES_PER_S * seconds / 2


async def _send_fixes(system: LocalStack, devices: list[str], seconds: int) -> dict[str, float]:
    """Produce the fixes at their rate. Return the latitude of the newest fix of each device."""
    settings = KafkaSettings.from_env(system.environment())
    chance = random.Random(7)
    newest: dict[str, tuple[int, float]] = {}
    async with EventProducer(settings) as producer:
        for step in range(10 * seconds):
            began_s = time.monotonic()
            records = []
            for number in range(FIXES_PER_S // 10):
                device = chance.choice(devices)
                at_ms = time.time_ns() // 1_000_000 - chance.randrange(3_000)
                latitude = 50 + chance.random()
                if at_ms > newest.get(device, (0, 0.0))[0]:
                    newest[device] = (at_ms, latitude)
                    params = f"di={device}&lt={latitude:.6f}&lg=13.4&ts={at_ms}"
                else:
                    params = f"di={device}&lt={latitude:.6f}&lg=13.4&ts={at_ms - 1}"
                event = Event("geo", f"fix-{step}-{number}", time.time_ns() // 1_000_000, 0, params=params)
                records.append(Record(encode_event(event), device.encode()))
            assert await producer.produce(names.EVENTS_TOPIC, records) == []
            await asyncio.sleep(max(0.0, 0.1 - (time.monotonic() - began_s)))
    return {device: round(latitude, 6) for device, (_, latitude) in newest.items()}
