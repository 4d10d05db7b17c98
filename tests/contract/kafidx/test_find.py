"""The search for one event names the place where it is: with real processes, stopped one after the other."""

import json
import re
import signal
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from redis import Redis

from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaKind
from deploy.develop.localstack.processes import LocalProcess
from deploy.develop.localstack.redis import LocalRedis
from deploy.develop.localstack.services import ServiceProcess
from services.backbone import names
from services.backbone.events import RawEvent, encode_raw

pytestmark = pytest.mark.timeout(180)

COUNTER = "event_counter"


class EventPath:
    """The path of events with a Redis of its own beside the tracker, and a search."""

    def __init__(self, stack: LocalStack, queue_redis: LocalRedis, folder: Path) -> None:
        self.stack = stack
        self.queue_redis = queue_redis
        env = {"REDIS_URL": queue_redis.url, "KAFKASTORE_LEASE_S": "30"}
        spool = {"TRACKER_SPOOL_DIRECTORY": str(folder / "spool"), "TRACKER_PUSH_TIMEOUT_S": "1"}
        self.tracker = stack.start_service("tracker", env=env | spool)
        self.kafkastore = stack.start_service("kafkastore", env=env)
        self.consumer = stack.start_service("consumers", COUNTER)
        self.kafidx = stack.start_service("kafidx")

    def send(self, *, event_id: str = "", target: str = "/shop/view") -> str:
        event_id = event_id or str(uuid.uuid4())
        self.request(target, {"Idempotency-Key": event_id})
        return event_id

    def request(self, target: str, headers: dict[str, str] | None = None, body: str | None = None) -> None:
        connection = HTTPConnection("127.0.0.1", int(self.tracker.env["TRACKER_PORT"]), timeout=10)
        try:
            connection.request("GET" if body is None else "POST", target, body, headers or {})
            response = connection.getresponse()
            assert response.status == 200, response.read()
        finally:
            connection.close()

    def find(self, q: str, **parameters: str) -> Any:
        status, text = self.get(f"/find/data?{urlencode({'q': q, **parameters})}")
        assert status == 200, text
        return json.loads(text)

    def verdict(self, q: str) -> tuple[str, str]:
        found = self.find(q)["results"][0]["verdict"]
        return found["stage"], found["text"]

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"{self.stack.kafidx_url}{path}", timeout=60) as response:  # noqa: S310 - loopback
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def until(self, q: str, stage: str, *, limit_s: float = 40.0) -> str:
        """Search until the event is at this stage. Return the text of the verdict."""
        end = time.monotonic() + limit_s
        while True:
            found, text = self.verdict(q)
            if found == stage:
                return text
            assert time.monotonic() < end, f"{found}: {text}"
            time.sleep(0.1)

    def until_nothing_waits(self) -> None:
        """Return when spool, list and claims are empty."""
        end = time.monotonic() + 40
        with Redis.from_url(self.queue_redis.url) as redis:
            while redis.llen(names.RAW_EVENTS_LIST) or redis.zcard(names.CLAIM_LEASES) or self.spooled():
                assert time.monotonic() < end
                time.sleep(0.05)

    def spooled(self) -> int:
        found = re.search(r"^push_tracker_spool_events (\d+)", self.tracker.metrics(), re.MULTILINE)
        return int(found[1]) if found else 0

    def state(self, q: str, stage: str) -> str:
        stages = self.find(q)["results"][0]["stages"]
        return next(str(each["state"]) for each in stages if each["name"] == stage)


@pytest.fixture(scope="module")
def path(kafka_kind: KafkaKind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventPath]:
    with LocalStack(kafka=kafka_kind) as stack:
        running = EventPath(stack, stack.start_redis("queue"), tmp_path_factory.mktemp("find"))
        stack.wait_until_ready()
        yield running


@pytest.fixture
def pause() -> Iterator[Callable[[ServiceProcess | LocalProcess], None]]:
    """Stop processes with SIGSTOP. They continue after the test."""
    paused: list[LocalProcess] = []

    def stop(process: ServiceProcess | LocalProcess) -> None:
        local = process.process if isinstance(process, ServiceProcess) else process
        paused.append(local)
        local.send_signal(signal.SIGSTOP)

    yield stop
    for process in paused:
        process.send_signal(signal.SIGCONT)


@pytest.fixture
def without_kafkastore(path: EventPath) -> Iterator[None]:
    path.until_nothing_waits()
    path.kafkastore.stop()
    yield
    path.kafkastore.restart()


@pytest.fixture
def without_queue_redis(path: EventPath) -> Iterator[None]:
    path.queue_redis.process.stop()
    yield
    path.queue_redis.start()
    path.queue_redis.wait_ready()


def curl(path: EventPath, target: str, *words: str) -> str:
    return " ".join(["curl", *words, f"'{path.stack.tracker_url}{target}'"])


@pytest.mark.usefixtures("without_queue_redis")
def test_event_in_the_spool_is_named(path: EventPath) -> None:
    event_id = path.send()
    marker = uuid.uuid4().hex
    path.request(f"/shop/view.gif?marker={marker}&q=%C3%BC")
    for q in (event_id, curl(path, f"/shop/view.gif?marker={marker}&q=%C3%BC", "-s")):
        stage, text = path.verdict(q)
        assert stage == "spool"
        assert text.startswith("In the tracker's spool: Redis does not take events (")
        assert "Could not be asked: the Redis of the tracker http://127.0.0.1:" in text


@pytest.mark.usefixtures("without_kafkastore")
def test_event_in_the_redis_list_is_named_with_the_entries_before_it(path: EventPath) -> None:
    for _ in range(3):
        path.send()
    event_id = path.send()
    marker = uuid.uuid4().hex
    path.request("/offr", {"Content-Type": "application/json"}, json.dumps({"title": marker, "tags": ["a", "ü"]}))
    assert path.verdict(event_id) == ("redis_list", "Waits in Redis, 3 entries before it.")
    line = curl(path, "/offr", "--json", f"""'{{"title":"{marker}","tags":["a","ü"]}}'""")
    assert path.verdict(line) == ("redis_list", "Waits in Redis, 4 entries before it.")
    assert path.state(event_id, "kafka") == "not_here"


def test_claimed_event_is_named_with_its_kafkastore(path: EventPath, pause: Callable[..., None]) -> None:
    path.until_nothing_waits()  # kafkastore claims the next batch only when it has shipped the last one
    pause(path.stack.kafka.process)
    event_id = path.send()
    with Redis.from_url(path.queue_redis.url) as redis:
        end = time.monotonic() + 20
        while not redis.zcard(names.CLAIM_LEASES):
            assert time.monotonic() < end
            time.sleep(0.05)
    stage, text = path.verdict(event_id)
    assert stage == "claims"
    assert text.startswith("Claimed by kafkastore ")
    assert f"-{path.kafkastore.pid}-" in text
    assert " s ago." in text
    assert "Could not be asked: Kafka (" in text


def test_event_in_kafka_that_is_not_counted_is_named_with_the_consumer(path: EventPath) -> None:
    path.consumer.stop()
    try:
        event_id = path.send()
        marker = uuid.uuid4().hex
        path.request("/batch", {}, json.dumps([{"type": "view", "id": marker, "params": {"x": 1}}]))
        body = json.dumps({"events": [{"type": "view", "id": marker, "params": {"x": 1}}]})
        for q in (event_id, curl(path, "/batch", "-d", f"'{body}'")):
            text = path.until(q, "kafka")
            assert text.startswith("In Kafka, partition ")
            assert f"; not counted yet by {COUNTER} (" in text
        assert path.state(event_id, "redis_list") == "not_here"
    finally:
        path.consumer.restart()


def test_counted_event_is_named(path: EventPath) -> None:
    event_id = path.send()
    text = path.until(event_id, "counted")
    assert text.startswith("Counted by the only consumer. In Kafka, partition ")
    marker = uuid.uuid4().hex
    path.request(f"/t/open.gif?marker={marker}")
    assert path.until(curl(path, f"/t/open.gif?marker={marker}"), "counted")
    second = path.send(event_id=event_id)
    time.sleep(1)
    assert second == event_id
    assert "2 records of Kafka match" in path.until(event_id, "counted")


@pytest.mark.parametrize("decodable", [True, False])
def test_dead_letter_is_named_with_its_reason(path: EventPath, *, decodable: bool) -> None:
    event_id = str(uuid.uuid4())
    with Redis.from_url(path.queue_redis.url) as redis:
        entry = b"\x07 of another version, " + event_id.encode()
        if decodable:
            entry = _raw_entry(event_id)
        redis.rpush(names.RAW_EVENTS_LIST, entry)
        redis.hincrby(names.LEDGER, "accepted", 1)
    text = path.until(event_id, "dead_letters")
    reason, stage = ("time of receipt is out of range", "enrich") if decodable else ("unknown entry version", "decode")
    assert text.startswith(f"A dead letter: {reason}")
    assert f"(stage {stage}, attempt 1)." in text
    place = path.find(event_id)["results"][0]["stages"][4]["places"][0]
    assert place["url"] == f"/dead?before={place['partition']}:{place['offset'] + 1}"
    assert path.get(place["url"])[0] == 200
    assert place["decodable"] is decodable


def _raw_entry(event_id: str) -> bytes:
    return encode_raw(RawEvent(event_id, -1, "192.0.2.1", b"h", "p", b"/view", b"", b"", b""))


def test_event_that_does_not_exist_is_not_found(path: EventPath) -> None:
    event_id = str(uuid.uuid4())
    found = path.find(event_id)
    verdict = found["results"][0]["verdict"]
    assert verdict["stage"] == "nowhere"
    assert verdict["text"] == (
        "Not found in the tracker's spool, the Redis list, the claims of kafkastore, Kafka or the dead letters."
    )
    assert verdict["advice"]
    assert found["trackers"][0]["ledger"]["accepted"] >= 0
    assert path.verdict(curl(path, f"/none?marker={event_id}"))[0] == "nowhere"


def test_part_that_does_not_respond_is_named(path: EventPath, pause: Callable[..., None]) -> None:
    event_id = path.send()
    path.until(event_id, "counted")
    path.tracker.stop()
    try:
        assert path.verdict(event_id)[0] == "counted"
        stage, text = path.verdict(str(uuid.uuid4()))
        assert stage == "unknown"
        assert "Could not be asked: the tracker http://127.0.0.1:" in text
        assert path.state(event_id, "redis_list") == "unknown"
    finally:
        path.tracker.restart()
    pause(path.stack.redis.process)
    stage, text = path.verdict(event_id)
    assert stage == "kafka"
    assert "The Redis of the counters does not respond." in text


@pytest.mark.parametrize("q", ["'", '"', "<script>alert(1)</script>", ".*", "(a+)+$", "%00", "{{7*7}}", "ü😀", "a b"])
def test_hostile_id_is_a_literal_and_escaped(path: EventPath, q: str) -> None:
    stage, _ = path.verdict(q)
    assert stage == "nowhere"
    status, page = path.get(f"/find?q={quote(q)}")
    assert status == 200
    assert "<script>alert" not in page
    assert ">49<" not in page


@pytest.mark.parametrize("q", ["", " ", "a\x00b", "a\nb", "x" * 129, "x" * 40_000, "curl 'http://a", "curl -s"])
def test_invalid_search_gets_400_with_what_is_allowed_and_an_example(path: EventPath, q: str) -> None:
    status, text = path.get(f"/find/data?q={quote(q)}")
    assert status == 400
    error = json.loads(text)
    assert error["parameter"] == "q"
    assert "id of the event" in error["reason"] or "curl -H 'Idempotency-Key: order-17'" in error["reason"]
    status, page = path.get(f"/find?q={quote(q)}")
    assert status == 400
    assert "Find an event" in page
    assert len(page) < 10_000


def test_id_of_a_megabyte_gets_400(path: EventPath) -> None:
    assert path.get(f"/find/data?q={'x' * 1_000_000}")[0] == 400


@pytest.mark.parametrize("since", ["0", "1441", "x", "-1"])
def test_invalid_since_gets_400(path: EventPath, since: str) -> None:
    assert path.get(f"/find/data?q=a&since={since}")[0] == 400


def test_page_shows_the_verdict_and_the_stages(path: EventPath) -> None:
    event_id = path.send()
    path.until(event_id, "counted")
    status, page = path.get(f"/find?q={event_id}")
    assert status == 200
    assert 'data-stage="counted"' in page
    assert page.count("data-state=") == 6
    assert "<dt>time</dt>" in page
    assert "time ms" not in page
    assert path.get("/find")[0] == 200
