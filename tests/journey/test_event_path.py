"""From a pixel to its count, with real servers and processes, started as operators start them."""

import asyncio
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis
from rich.console import Console

from deploy import catalog
from deploy.demo.matching_check import STOPS_M
from deploy.demo.replay import ReplayResult, replay
from deploy.demo.sample import read_sample
from deploy.demo.synthetic import synthetic_visitors
from deploy.demo.system import endpoints_of, running_system
from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaKind
from deploy.develop.localstack.mongo import MongoKind
from deploy.develop.localstack.ports import LOOPBACK
from deploy.develop.localstack.relay import Relay
from deploy.operate.access_log import TrackingRequest
from deploy.operate.endpoints import Endpoints
from deploy.operate.send import SendCounts, send
from deploy.operate.status import StatusReader
from services.backbone import names
from services.backbone.counters import CounterStore
from services.backbone.histogram import TOTAL_LABEL
from services.backbone.queue import EventQueue

ROOT = Path(__file__).parents[2]
SAMPLE_LOG = ROOT / "tests" / "examples" / "access.log"
SAMPLE_LINES = 300
QUIET = Console(quiet=True)
# Only the confirmation script uses the keys of a claim, the leases and the ledger, in this order.
CONFIRMATION = re.compile(
    rb"%s[^\r]*\r\n\$\d+\r\n%s\r\n\$\d+\r\n%s\r\n"
    % (names.claim_list("", 0).partition("::")[0].encode(), names.CLAIM_LEASES.encode(), names.LEDGER.encode())
)


@pytest.fixture(scope="module")
def system(kafka_kind: KafkaKind) -> Iterator[LocalStack]:
    """Return the whole system, which these tests share. Each test checks only its own events."""
    with running_system(kafka=kafka_kind, console=QUIET) as stack:
        yield stack


@pytest.fixture
def fresh_system(kafka_kind: KafkaKind) -> Iterator[LocalStack]:
    """Return the whole system, before its first event."""
    with running_system(kafka=kafka_kind, console=QUIET) as stack:
        yield stack


async def counts_of(endpoints: Endpoints, counter: str) -> dict[str, int]:
    async with Redis.from_url(endpoints.counters_url, decode_responses=True) as redis:
        return await CounterStore(redis).counts(counter)


def operator(*arguments: str, of: LocalStack | None = None) -> subprocess.CompletedProcess[str]:
    """Run a task as an operator does, with the environment of the given running system, if any."""
    environ = os.environ | (of.services[0].env if of else {})
    command = [sys.executable, "tasks.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=100, check=False)


def test_demo_replays_a_log_and_the_ledger_balances(kafka_kind: KafkaKind, mongo_kind: MongoKind) -> None:
    flags = ("--json", "--kafka", kafka_kind, "--mongo", mongo_kind)
    finished = operator("demo", "--once", "--log", str(SAMPLE_LOG), *flags)
    assert finished.returncode == 0, finished.stderr
    (line,) = finished.stdout.splitlines()
    result = json.loads(line)
    replayed = ["sent", "accepted", "produced", "dead", "waiting", "counted", "lost", "seconds"]
    assert list(result) == [*replayed, "offers", "searches", "matches", "messages", "scene_events", "imported"]
    assert [result[name] for name in ("sent", "accepted", "produced", "counted")] == [SAMPLE_LINES] * 4
    assert [result[name] for name in ("dead", "waiting", "lost")] == [0, 0, 0]
    sample = read_sample()
    assert (result["offers"], result["searches"]) == (len(sample.offers), len(sample.searches))
    matches = len(sample.pairs().union(*(sample.pairs(stop_m) for stop_m in STOPS_M)))
    assert (result["matches"], result["messages"]) == (matches, 2 * matches)
    fixes = len(STOPS_M) * len(sample.mobile)
    assert result["scene_events"] == len(sample.objects) + fixes + matches
    assert result["imported"] == 11
    numbers = "berlin_markets 3, dbpedia 2, nature_spots 2, sensor_community 2, libraries 2"
    shown = rf"11 imported offers: {numbers} \(importers: http://127\.0\.0\.1:\d+/offers\)"
    assert re.search(shown, finished.stderr), finished.stderr


def test_sums_stay_exact_when_consumers_are_killed(fresh_system: LocalStack) -> None:
    endpoints = endpoints_of(fresh_system)
    events = 3000
    dice = random.Random(11)

    async def kill_and_restart() -> None:
        for name in catalog.load().consumers:
            await asyncio.sleep(dice.uniform(0.1, 0.6))
            process = fresh_system.service(f"consumers.{name}")
            process.kill()
            process.start()

    async def run() -> ReplayResult:
        killing = asyncio.create_task(kill_and_restart())
        requests = list(islice(synthetic_visitors(), events))
        result = await replay(endpoints, requests, total=events, console=QUIET, rate=1000)
        await killing
        return result

    result = asyncio.run(run())
    assert (result.sent, result.produced, result.lost) == (events, events, 0)
    totals = asyncio.run(sums(endpoints))
    assert totals == {"types": events, "pods": events, "places": events, "timed": events}


@pytest.mark.timeout(180)
def test_sums_stay_exact_when_kafkastore_is_killed_before_it_confirms(fresh_system: LocalStack) -> None:
    endpoints = endpoints_of(fresh_system)
    events = 2000
    confirming = fresh_system.service("kafkastore")
    confirming.stop()

    async def kill_between_acknowledgement_and_confirmation(sending: "asyncio.Task[ReplayResult]") -> None:
        async with Redis.from_url(endpoints.queue_urls[0]) as redis, asyncio.timeout(60):
            while (await EventQueue(redis).ledger()).accepted < events // 2:
                assert not sending.done()
                await asyncio.sleep(0.05)
        port = urlsplit(endpoints.queue_urls[0]).port
        assert port is not None
        lost = asyncio.Event()

        def lose_confirmation(chunk: bytes) -> None:
            if CONFIRMATION.search(chunk):
                lost.set()
                relay.stall()

        async with Relay(port, inspect=lose_confirmation) as relay:
            url = f"redis://{LOOPBACK}:{relay.port}/0"
            doomed = fresh_system.start_service("kafkastore", env={"REDIS_URL": url}, label="doomed")
            async with asyncio.timeout(60):
                await lost.wait()
            await asyncio.to_thread(doomed.kill)
        confirming.start()

    async def run() -> ReplayResult:
        requests = list(islice(synthetic_visitors(), events))
        replaying = asyncio.create_task(replay(endpoints, requests, total=events, console=QUIET))
        await kill_between_acknowledgement_and_confirmation(replaying)
        return await replaying

    result = asyncio.run(run())
    assert (result.sent, result.produced, result.counted, result.lost) == (events, events, events, 0)

    async def duplicates() -> set[int]:
        """Wait until each consumer has read the whole topic; return how many duplicates each has dropped."""
        async with StatusReader(endpoints) as reader, asyncio.timeout(60):
            while True:
                status = await reader.read()
                if not any(status.lag.values()) and len({p.passed for p in status.counted.values()}) == 1:
                    if fresh_system.kafka.kind == "apache":  # Tansu reports end offsets that are too low
                        assert status.duplicates == status.passed_by_all - events
                    return {progress.duplicates for progress in status.counted.values()}
                await asyncio.sleep(0.1)

    (dropped,) = asyncio.run(duplicates())
    assert dropped > 0
    totals = asyncio.run(sums(endpoints))
    assert totals == {"types": events, "pods": events, "places": events, "timed": events}


async def sums(endpoints: Endpoints) -> dict[str, int]:
    """Return the number of events by each counter, by its own rule."""
    types = await counts_of(endpoints, "event_counter")
    metadata = await counts_of(endpoints, "metadata_counter")
    timing = await counts_of(endpoints, "timing_stats")
    return {
        "types": sum(types.values()),
        "pods": sum(count for label, count in metadata.items() if label.startswith("(p) ")),
        "places": sum(count for label, count in metadata.items() if label.startswith("(l) ")),
        "timed": timing[TOTAL_LABEL],
    }


def test_topic_is_readable_by_kcat(system: LocalStack) -> None:
    kcat = shutil.which("kcat")
    if kcat is None:
        assert "CI" not in os.environ, "CI installs kcat"
        pytest.skip("needs kcat (Debian package kcat)")
    if system.kafka.kind == "tansu":
        pytest.skip("kcat's library cannot read Tansu's list of API versions")
    pixel = TrackingRequest("/t/hello.gif?who=kcat&x=%20", "79.192.0.17")
    asyncio.run(send([pixel], system.tracker_url, counts=SendCounts()))
    command = [kcat, "-b", system.bootstrap_servers, "-t", names.EVENTS_TOPIC, "-C", "-o", "beginning", "-u", "-f"]
    with subprocess.Popen(
        [*command, "%h %s\n"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as reader:
        assert reader.stdout is not None
        printed = next(line.rstrip("\n") for line in reader.stdout if "who=kcat" in line)
        reader.terminate()
    headers, event_type, meta, params = printed.split(" ")
    assert "v=1" in headers
    assert (event_type, params) == ("hello", "who=kcat&x=%20")
    assert "&ip=4fc00000&country=DE&" in meta


def status_of(system: LocalStack) -> dict[str, Any]:
    finished = operator("status", "--json", of=system)
    assert finished.returncode == 0, finished.stderr
    status: dict[str, Any] = json.loads(finished.stdout)
    return status


def test_status_shows_the_events_of_send(system: LocalStack) -> None:
    before = status_of(system)
    sent = operator("send", "--log", str(SAMPLE_LOG), of=system)
    assert sent.returncode == 0, sent.stderr
    assert "300 sent" in sent.stdout
    assert "300 acknowledged" in sent.stdout

    begun = time.monotonic()
    while True:
        status = status_of(system)
        counted = {
            name: counter["counted"] - before["counters"][name]["counted"]
            for name, counter in status["counters"].items()
        }
        if counted == dict.fromkeys(catalog.load().consumers, SAMPLE_LINES):
            break
        assert time.monotonic() - begun < 60, status
    ledger = status["ledger"]
    assert ledger["balanced"]
    assert status["in_topic"] is not None
    if system.kafka.kind == "apache":  # Tansu reports end offsets that are too low
        assert status["in_topic"] == ledger["produced"]
    assert ledger["accepted"] - before["ledger"]["accepted"] == SAMPLE_LINES
    assert (ledger["dead"], ledger["waiting"]) == (0, 0)
    assert f"accepted {ledger['accepted']:,} = produced" in operator("status", of=system).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("send", "--log", "nowhere.log"), "nowhere.log"),
        (("demo", "--once"), "--once needs --log, and --log needs --once: demo --once --log FILE"),
        (
            ("send", "--log", "README.md", "--url", "http://127.0.0.1:9"),
            "README.md, line 1: not in Combined Log Format",
        ),
        (("send",), "send --log FILE"),
        (
            ("send", "--log", str(SAMPLE_LOG), "--url", "http://127.0.0.1:9"),
            "no tracker responds at http://127.0.0.1:9",
        ),
        (("send", "--log", str(SAMPLE_LOG), "--url", "nonsense"), '--url: invalid URL "nonsense"'),
        (("demo", "--kafka", "kafak"), "--kafka kafak: unknown broker. Use one of auto, apache, tansu"),
        (("demo", "--mongo", "nope"), "--mongo nope: unknown database. Use one of auto, mongod, secantus, none"),
        (("demo", "--rate", "abc"), '--rate: invalid number "abc"'),
        (
            ("test", "--suite", "nope"),
            "--suite nope: unknown suite. Use one of default, broker, slow, measures, browser, chaos",
        ),
    ],
)
def test_invalid_use_is_reported_in_one_sentence(arguments: tuple[str, ...], message: str) -> None:
    finished = operator(*arguments)
    assert finished.returncode == 1
    assert message in finished.stderr
    assert "Traceback" not in finished.stderr


def test_status_names_the_servers_when_none_responds() -> None:
    command = [sys.executable, "tasks.py", "status"]
    nothing = {"REDIS_URL": "redis://:hunter2@127.0.0.1:9/0", "COUNTERS_REDIS_URL": "redis://127.0.0.1:9/0"}
    environ = {"PATH": "/usr/bin:/bin", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"} | nothing
    finished = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == 1
    assert "Redis at redis://127.0.0.1:9/0 does not respond" in finished.stderr
    assert "Does it run?" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_paths_are_relative_to_the_caller(tmp_path: Path) -> None:
    (tmp_path / "here.log").write_text("no log line\n")
    command = [sys.executable, str(ROOT / "tasks.py"), "send", "--log", "here.log"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "here.log, line 1: not in Combined Log Format" in finished.stderr


def test_status_shows_the_ledger_when_kafka_is_down(system: LocalStack) -> None:
    environ = os.environ | system.services[0].env | {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"}
    command = [sys.executable, "tasks.py", "status"]
    finished = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == 1
    assert "Kafka at 127.0.0.1:9 does not respond" in finished.stdout
    assert "balanced" in finished.stdout


async def test_ledger_shows_waiting_events(system: LocalStack) -> None:
    endpoints = endpoints_of(system)
    counts = SendCounts()
    async with StatusReader(endpoints) as reader:
        system.service("kafkastore").stop()
        before = (await reader.read()).ledger
        await send(islice(synthetic_visitors(), 50), endpoints.tracker_url, counts=counts)
        after = (await reader.read()).ledger
        system.service("kafkastore").restart()
    assert (counts.acknowledged, after.accepted - before.accepted, after.waiting - before.waiting) == (50, 50, 50)
    assert after.unaccounted == 0
