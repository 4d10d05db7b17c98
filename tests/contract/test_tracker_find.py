"""`GET /find` on the tracker's internal port: where an event waits before Kafka."""

import statistics
import sys
import threading
import time
import urllib.request
from urllib.parse import quote, urlencode

import msgspec
import pytest
import redis as redis_client

from deploy.develop.localstack.redis import LocalRedis
from services.backbone import names
from services.backbone.events import RawEvent, encode_raw
from services.backbone.queue.scripts import CLAIM
from services.backbone.search import TrackerReport, decode_report
from tests.contract.tracker_process import Tracker, wait_until

HOSTILE = ["'", '"', "<b>&amp;</b>", ".*", "(a+)+$", "%s%n{0}", "[", "\\", "ü€😀", "id=1&ts=2", "a b"]


def find(tracker: Tracker, **target: str) -> TrackerReport:
    url = f"{tracker.internal_url}/find?{urlencode(target)}"
    with urllib.request.urlopen(url, timeout=20) as response:  # noqa: S310 - loopback
        return decode_report(response.read())


def send(tracker: Tracker, event_id: str, target: str = "/shop/view?di=device-7") -> None:
    assert tracker.ask("GET", target, f"Idempotency-Key: {event_id}").status == 200


def claim(client: "redis_client.Redis", *, age_s: float, limit: int = 10) -> None:
    key = names.claim_list("host-1-abc", int((time.time() - age_s) * 1000))
    keys = (names.RAW_EVENTS_LIST, key, names.CLAIM_LEASES, names.ERASED_DEVICES)
    client.eval(CLAIM, len(keys), *keys, limit, 1_000_000, 15_000)


def test_waiting_event_is_found_with_the_entries_before_it(tracker: Tracker) -> None:
    for number in range(20):
        send(tracker, f"order-{number}")
    report = find(tracker, id="order-12")
    [found] = report.waiting.found
    assert (found.before, found.target, found.decodable) == (12, 0, True)
    assert (report.waiting.entries, report.waiting.searched, report.waiting.error) == (20, 20, "")
    assert report.ledger is not None
    assert (report.ledger["accepted"], report.ledger["listed"]) == (20, 20)
    assert report.claims.found == []
    assert report.spool is None
    assert find(tracker, id="order-1").waiting.found[0].before == 1
    assert find(tracker, id="order-").waiting.found == []


def test_event_without_an_id_is_found_by_type_and_parameters(tracker: Tracker) -> None:
    send(tracker, "a", "/x/view.gif?q=%C3%BC&di=1")
    send(tracker, "b", "/x/view?q=other")
    send(tracker, "c", "/x/view")
    assert [found.before for found in find(tracker, type="view", params="q=%C3%BC&di=1").waiting.found] == [0]
    assert [found.before for found in find(tracker, type="view").waiting.found] == [2]
    assert find(tracker, type="view", params="q=%C3%BC").waiting.found == []


def test_claimed_event_is_found_with_its_instance_and_age(tracker: Tracker) -> None:
    for number in range(4):
        send(tracker, f"order-{number}")
    claim(tracker.redis, age_s=12.0, limit=3)
    report = find(tracker, id="order-1")
    assert report.waiting.found == []
    [found] = report.claims.found
    assert (found.instance, found.before) == ("host-1-abc", 1)
    assert 12_000 <= (found.claimed_ms_ago or 0) < 30_000
    assert 0 < (found.lease_ms or 0) <= 15_000
    assert (report.claims.entries, report.claims.searched) == (3, 3)


def test_spooled_event_is_found_while_redis_is_stopped(own_redis: LocalRedis, spooling: Tracker) -> None:
    send(spooling, "before-the-outage")
    own_redis.process.stop()
    for number in range(3):
        send(spooling, f"order-{number}")
    report = find(spooling, id="order-2")
    assert report.spool is not None
    [found] = report.spool.found
    assert found.before == 2
    assert found.segment.endswith(".spool")
    assert (report.spool.entries, report.spool.searched) == (3, 3)
    assert report.redis_error
    assert report.ledger is None
    assert "Redis does not respond" in report.waiting.error
    assert "Redis does not respond" in report.claims.error
    own_redis.start()
    own_redis.wait_ready()
    wait_until(lambda: spooling.metric("push_tracker_spool_events") == 0)
    report = find(spooling, id="order-2")
    assert report.spool is not None
    assert (report.spool.found, report.redis_error) == ([], "")
    assert [found.before for found in report.waiting.found] == [3]


def test_undecodable_entry_is_found_by_the_id_in_its_bytes(tracker: Tracker) -> None:
    tracker.redis.rpush(names.RAW_EVENTS_LIST, b"\x07 other version, id order-77 \xff")
    [found] = find(tracker, id="order-77").waiting.found
    assert not found.decodable


@pytest.mark.parametrize("event_id", HOSTILE)
def test_hostile_id_is_searched_as_a_literal(tracker: Tracker, event_id: str) -> None:
    raw = RawEvent(event_id, 1, "192.0.2.1", b"h", "p", b"/view", b"", b"", b"")
    tracker.redis.rpush(names.RAW_EVENTS_LIST, encode_raw(raw), encode_raw(msgspec.structs.replace(raw, id="x")))
    assert [found.before for found in find(tracker, id=event_id).waiting.found] == [0]


@pytest.mark.parametrize(
    "query",
    ["", "id=", "id=a%00b", f"id={'x' * 129}", "params=a", "type=", "id=a&other=1", "&".join(["id=a"] * 21)],
)
def test_invalid_search_gets_400_with_what_is_allowed(tracker: Tracker, query: str) -> None:
    status, body = tracker._get(f"/find?{query}")
    assert status == 400
    assert "reason" in body
    assert len(body) < 400


def test_long_id_gets_400(tracker: Tracker) -> None:
    status, body = tracker._get(f"/find?id={quote('x' * 60_000)}")
    assert (status, len(body) < 400) == (400, True)


def test_find_is_not_on_the_public_port(tracker: Tracker) -> None:
    send(tracker, "order-1")
    assert tracker.ask("GET", "/find?id=order-1").body == b'{"status":"ok"}'


def test_search_changes_nothing(tracker: Tracker) -> None:
    for number in range(10):
        send(tracker, f"order-{number}")
    claim(tracker.redis, age_s=1.0, limit=4)
    before = {key: tracker.redis.dump(key) for key in sorted(tracker.redis.keys())}
    find(tracker, id="order-7")
    assert {key: tracker.redis.dump(key) for key in sorted(tracker.redis.keys())} == before


def latencies_ms(tracker: Tracker, until: threading.Event) -> list[float]:
    """Send one GET after the other on one connection, 200 a second at most."""
    request = b"GET /t/view?di=1 HTTP/1.1\r\nHost: trk.example\r\n\r\n"
    found = []
    with tracker.connect() as connection:
        while not until.is_set():
            begin = time.perf_counter()
            connection.sendall(request)
            response = b""
            while not response.endswith(b'{"status":"ok"}'):
                response += connection.recv(4096)
            found.append((time.perf_counter() - begin) * 1000)
            time.sleep(0.005)
    return found


@pytest.mark.slow
@pytest.mark.measures
def test_search_of_100000_entries_does_not_delay_gets(tracker: Tracker) -> None:
    query = b"di=device-7&kw=flea+market&lat=52.5&lng=13.4&page=17"
    agent = b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    raw = RawEvent("id", 1_764_000_000_000, "192.0.2.1", b"trk.example", "10.0.0.1", b"/shop/view", query, agent, b"")
    for begin in range(0, 100_000, 5000):
        batch = [encode_raw(msgspec.structs.replace(raw, id=f"id-{begin + number}")) for number in range(5000)]
        tracker.redis.rpush(names.RAW_EVENTS_LIST, *batch)
    quiet, searching = threading.Event(), threading.Event()
    threading.Timer(4.0, quiet.set).start()
    alone = latencies_ms(tracker, quiet)
    reports: list[tuple[TrackerReport, float]] = []

    def search() -> None:
        for target in ({"id": "id-0"}, {"type": "view", "params": "none=1"}) * 3:
            begin = time.perf_counter()
            reports.append((find(tracker, **target), time.perf_counter() - begin))
        searching.set()

    thread = threading.Thread(target=search)
    thread.start()
    beside = latencies_ms(tracker, searching)
    thread.join()
    assert all(report.waiting.searched >= 100_000 for report, _ in reports)
    assert [found.before for found in reports[0][0].waiting.found] == [0]
    quantiles = [[*statistics.quantiles(sample, n=100), max(sample)] for sample in (alone, beside)]
    for name, sample, ranks in zip(("alone", "beside"), (alone, beside), quantiles, strict=True):
        sys.stdout.write(
            f"\nGETs {name}: {len(sample)}, p50 {ranks[49]:.1f} ms, p99 {ranks[98]:.1f} ms, slowest {ranks[-1]:.1f} ms"
        )
    sys.stdout.write(f"\nsearches: {', '.join(f'{seconds:.2f} s' for _, seconds in reports)}\n")
    assert quantiles[1][98] < quantiles[0][98] + 20
