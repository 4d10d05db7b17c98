"""The tracker while Redis is down: events wait on disk, clients get 2xx, and Redis later gets each event once."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from deploy.develop.localstack.ports import free_port
from deploy.develop.localstack.redis import LocalRedis
from services.backbone import names
from tests.contract.tracker_load import Disk, Memory, PacedLoad
from tests.contract.tracker_process import Tracker, wait_until

ROOT = Path(__file__).parents[2]


def report(results: str) -> None:
    """Print measured results, which pytest shows with -s or when a test fails."""
    sys.stdout.write(f"\n{results}\n")


def waiting(tracker: Tracker) -> float:
    return tracker.metric("push_tracker_spool_events")


def assert_responded_once(responded: list[str], tracker: Tracker, *, without_response: int = 0) -> list[str]:
    """Assert that each event with a 2xx response is in the list once; return the ids in the order of the list."""
    accepted = int(tracker.redis.hget(names.LEDGER, "accepted") or 0)
    stored = [event.id for event in tracker.events()]
    duplicates = [event_id for event_id, times in Counter(stored).items() if times > 1]
    report(f"2xx responses {len(responded)}, stored {len(stored)}, duplicates {len(duplicates)}")
    assert set(responded) - set(stored) == set()
    assert duplicates == []
    assert accepted == len(stored)
    assert len(stored) <= len(responded) + without_response
    return stored


def holds(tracker: Tracker, events: int) -> bool:
    return int(tracker.redis.llen(names.RAW_EVENTS_LIST)) >= events


def is_stopped(redis: LocalRedis) -> None:
    redis.process.stop()


def hangs(redis: LocalRedis) -> None:
    redis.process.send_signal(signal.SIGSTOP)


def comes_back(redis: LocalRedis) -> None:
    if redis.process.is_alive:
        redis.process.send_signal(signal.SIGCONT)
    else:
        redis.start()
    redis.wait_ready()


@pytest.mark.parametrize(
    ("seconds", "per_s", "limit_ms"),
    # The short load also passes on a busy machine. Only the others measure speed.
    [
        (8, 200, 500),
        pytest.param(20, 1000, 50, marks=[pytest.mark.slow, pytest.mark.measures, pytest.mark.timeout(600)]),
        pytest.param(60, 1000, 50, marks=[pytest.mark.endurance, pytest.mark.timeout(600)]),
    ],
)
@pytest.mark.parametrize("goes_away", [is_stopped, hangs])
async def test_clients_get_2xx_when_redis_is_down(  # noqa: PLR0917 - fixtures and parameters
    own_redis: LocalRedis,
    spooling: Tracker,
    tmp_path: Path,
    goes_away: Callable[[LocalRedis], None],
    seconds: int,
    per_s: int,
    limit_ms: float,
) -> None:
    load = PacedLoad(spooling, per_s=per_s)
    results = load.results
    await load.during(1)
    results.latencies_ms.clear()
    async with Memory(spooling.pid) as memory:
        await load.during(3)
        p99_well = results.quantile_ms(0.99)
        results.latencies_ms.clear()
        await asyncio.to_thread(goes_away, own_redis)
        with Disk(tmp_path) as disk:
            await load.during(seconds)
        p50, p99, most = results.quantile_ms(0.5), results.quantile_ms(0.99), max(results.latencies_ms)
        spooled = await asyncio.to_thread(waiting, spooling)
        assert await asyncio.to_thread(spooling.internal, "/readyz") == 200
        await asyncio.to_thread(comes_back, own_redis)
        await load.during(2)
        await asyncio.to_thread(wait_until, lambda: waiting(spooling) == 0, 60)
    load.close()
    report(
        f"{goes_away.__name__} for {seconds} s, {per_s}/s: {len(results.responded)} responses, "
        f"{len(results.errors)} errors, {spooled:.0f} spooled, p50 {p50:.1f} ms, p99 {p99:.1f} ms "
        f"(with Redis well {p99_well:.1f} ms), slowest {most:.0f} ms, "
        f"the disk's own p99 {disk.p99_ms:.1f} ms, memory {memory.grown_mb:+.1f} MB"
    )
    accepted = spooling.metric("push_tracker_events_accepted_total")
    assert_responded_once(results.responded, spooling)
    assert results.errors == []
    assert accepted == len(results.responded)
    assert spooled > 0.8 * per_s * seconds
    assert memory.grown_mb < 50
    # A response waits for the sync in progress and for its own sync, so the time of the disk itself is added twice.
    assert p99 < limit_ms + 2 * disk.p99_ms


def test_tracker_stores_events_when_redis_was_never_up(tmp_path: Path) -> None:
    server = LocalRedis(data=tmp_path / "data", log=tmp_path / "redis.log")
    tracker = Tracker(server.url, tmp_path, TRACKER_SPOOL_DIRECTORY=str(tmp_path / "spool"))
    assert tracker.internal("/readyz") == 200
    assert [tracker.ask("GET", f"/{number}").status for number in range(20)] == [200] * 20
    assert waiting(tracker) == 20
    tracker.stop()
    tracker.start()
    wait_until(lambda: tracker.internal("/readyz") == 200)
    assert waiting(tracker) == 20
    server.start()
    server.wait_ready()
    wait_until(lambda: waiting(tracker) == 0)
    assert [event.path for event in tracker.events()] == [b"/%d" % number for number in range(20)]
    assert tracker.metric("push_tracker_events_replayed_total") == 20
    assert tracker.end() == 0
    server.process.stop()


async def test_spooled_events_with_2xx_survive_kills(own_redis: LocalRedis, spooling: Tracker) -> None:
    load = PacedLoad(spooling, per_s=500)
    own_redis.process.stop()
    for _ in range(3):
        sending = asyncio.create_task(load.during(1.5))
        await asyncio.sleep(1)
        await asyncio.to_thread(spooling.kill)
        await sending
        load.close()
        await asyncio.to_thread(spooling.restart)
    responded = load.results.responded
    assert len(responded) > 100
    assert waiting(spooling) >= len(responded)
    own_redis.start()
    own_redis.wait_ready()
    await asyncio.to_thread(wait_until, lambda: waiting(spooling) == 0)
    assert_responded_once(responded, spooling, without_response=len(load.results.errors))


@pytest.mark.timeout(300)
async def test_kill_during_replay_causes_no_duplicates(own_redis: LocalRedis, spooling: Tracker) -> None:
    load = PacedLoad(spooling, per_s=500)
    own_redis.process.stop()
    await load.during(4)
    assert load.results.errors == []
    load.close()
    spooling.stop()
    own_redis.start()
    own_redis.wait_ready()
    total = len(load.results.responded)
    killed_within = 0
    for part in (0.2, 0.4, 0.6):
        spooling.start()
        await asyncio.to_thread(wait_until, partial(holds, spooling, int(part * total)), 30)
        spooling.kill()
        killed_within += int(spooling.redis.llen(names.RAW_EVENTS_LIST)) < total
    report(f"killed {killed_within} times within the replay of {total} events")
    assert killed_within >= 1
    spooling.start()
    await asyncio.to_thread(wait_until, lambda: spooling.internal("/readyz") == 200)
    await asyncio.to_thread(wait_until, lambda: waiting(spooling) == 0)
    stored_ids = assert_responded_once(load.results.responded, spooling)
    assert len(stored_ids) == total


def test_two_trackers_share_spool_directory_and_one_takes_over(
    own_redis: LocalRedis, spooling: Tracker, tmp_path: Path
) -> None:
    other = Tracker(own_redis.url, tmp_path / "other", TRACKER_SPOOL_DIRECTORY=str(tmp_path / "spool"))
    own_redis.process.stop()
    assert spooling.ask("GET", "/one").status == 200
    assert other.ask("GET", "/two").status == 200
    other.kill()
    spooling.restart()
    assert waiting(spooling) == 2
    own_redis.start()
    own_redis.wait_ready()
    wait_until(lambda: waiting(spooling) == 0)
    assert sorted(event.path for event in spooling.events()) == [b"/one", b"/two"]
    other.redis.close()


def test_full_spool_gets_503_until_replay(own_redis: LocalRedis, tmp_path: Path) -> None:
    tracker = Tracker(
        own_redis.url,
        tmp_path,
        TRACKER_SPOOL_DIRECTORY=str(tmp_path / "spool"),
        TRACKER_SPOOL_BYTES="1048576",
        TRACKER_MAX_BATCH_BYTES="65536",
    )
    own_redis.process.stop()
    body = b"x=" + b"y" * 60_000
    responses = [tracker.ask("POST", "/a", body=body) for _ in range(30)]
    refused = [response for response in responses if response.status != 200]
    stored = len(responses) - len(refused)
    assert stored >= 16
    assert {(response.status, response.headers["retry-after"]) for response in refused} == {(503, "2")}
    assert b"spool_full" in refused[0].body
    assert tracker.metric('push_tracker_events_refused_total{reason="spool_full"}') == len(refused)
    assert tracker.internal("/readyz") == 503
    assert tracker.internal("/livez") == 200
    own_redis.start()
    wait_until(lambda: waiting(tracker) == 0)
    wait_until(lambda: tracker.internal("/readyz") == 200)
    assert tracker.ask("POST", "/a", body=body).status == 200
    assert len(tracker.events()) == stored + 1
    assert tracker.end() == 0


def readiness(tracker: Tracker) -> tuple[int, str]:
    """Return the status of readiness, and the detail of the store."""
    status, body = tracker.ask_readiness()
    return status, body["checks"]["store"]["detail"]


def test_readiness_reports_free_bytes_of_spool_and_fails_when_a_full_size_batch_does_not_fit(
    own_redis: LocalRedis, tmp_path: Path
) -> None:
    tracker = Tracker(
        own_redis.url,
        tmp_path,
        TRACKER_SPOOL_DIRECTORY=str(tmp_path / "spool"),
        TRACKER_SPOOL_BYTES="1048576",
        TRACKER_MAX_BATCH_BYTES="524288",
    )
    room = "room for 1.0 MiB (a full-size batch takes 0.5 MiB)"
    assert readiness(tracker) == (200, f"0 events waiting, 0 in the spool, {room}")
    own_redis.process.stop()
    event = b"x=" + b"y" * 60_000
    sent = 0
    while readiness(tracker)[0] == 200:
        assert tracker.ask("POST", "/a", body=event).status == 200
        sent += 1
    status, detail = readiness(tracker)
    assert (status, sent) == (503, 9)
    assert "NotSpooled: the spool is full: 9 events, room for 0.5 MiB" in detail
    assert tracker.ask("POST", "/a", body=event).status == 200  # a smaller event still fits
    batch = b'[{"type":"a","params":"x=' + b"y" * 60_000 + b'"}'
    batch += b"," + b",".join([b'{"type":"a","params":"x=' + b"y" * 60_000 + b'"}'] * 7) + b"]"
    assert tracker.ask("POST", "/batch", body=batch).status == 503
    own_redis.start()
    own_redis.wait_ready()
    wait_until(lambda: readiness(tracker)[0] == 200)
    wait_until(lambda: waiting(tracker) == 0)
    assert tracker.ask("POST", "/batch", body=batch).status == 200
    assert tracker.end() == 0


@pytest.mark.parametrize("spools", [False, True])
def test_tracker_is_not_ready_and_pushes_nothing_when_eviction_policy_changes(
    own_redis: LocalRedis, tmp_path: Path, *, spools: bool
) -> None:
    spool = {"TRACKER_SPOOL_DIRECTORY": str(tmp_path / "spool")} if spools else {}
    tracker = Tracker(own_redis.url, tmp_path, **spool)
    assert tracker.ask("GET", "/before").status == 200
    tracker.redis.config_set("maxmemory-policy", "allkeys-lru")
    wait_until(lambda: tracker.internal("/readyz") == 503)
    assert "maxmemory-policy is allkeys-lru" in readiness(tracker)[1]
    assert tracker.ask("GET", "/during").status == (200 if spools else 503)
    assert waiting(tracker) == (1 if spools else 0)
    assert [event.path for event in tracker.events()] == [b"/before"]
    tracker.redis.config_set("maxmemory-policy", "noeviction")
    wait_until(lambda: tracker.internal("/readyz") == 200)
    assert tracker.ask("GET", "/after").status == 200
    wait_until(lambda: waiting(tracker) == 0)
    assert {event.path for event in tracker.events()} == ({b"/during", b"/after"} if spools else {b"/after"})
    assert tracker.end() == 0


@pytest.mark.parametrize("spools", [False, True])
def test_frequent_redis_failure_is_logged_once_and_then_counted(
    own_redis: LocalRedis, tmp_path: Path, *, spools: bool
) -> None:
    spool = {"TRACKER_SPOOL_DIRECTORY": str(tmp_path / "spool")} if spools else {}
    tracker = Tracker(own_redis.url, tmp_path, **spool)
    for _ in range(10):
        tracker.redis.config_set("maxmemory", "1")  # like a Redis at its memory limit, until kafkastore takes entries
        assert tracker.ask("GET", "/a").status == (200 if spools else 503)
        tracker.redis.config_set("maxmemory", "0")
        wait_until(lambda: waiting(tracker) == 0)
        assert tracker.ask("GET", "/a").status == 200
    assert tracker.end() == 0
    lines = [json.loads(line) for line in tracker.log.read_text().splitlines()]
    failures = [line for line in lines if line["event"] == "redis_does_not_confirm"]
    assert [(line.get("times"), line.get("lasts")) for line in failures] == [(None, None), (9, False)]
    assert all("OOM" in line["error"] for line in failures)
    assert [line["event"] for line in lines].count("redis_confirms_again") == 1


def test_each_cause_of_redis_failure_is_logged_once(own_redis: LocalRedis, tmp_path: Path) -> None:
    tracker = Tracker(own_redis.url, tmp_path)
    assert tracker.ask("GET", "/a").status == 200
    set_option = tracker.redis.config_set
    for begin, end in (
        (partial(set_option, "maxmemory", "1"), partial(set_option, "maxmemory", "0")),
        (
            partial(set_option, "maxmemory-policy", "allkeys-lru"),
            partial(set_option, "maxmemory-policy", "noeviction"),
        ),
        (partial(tracker.redis.slaveof, "127.0.0.1", 1), tracker.redis.slaveof),
    ):
        begin()
        for _ in range(3):
            assert tracker.ask("GET", "/a").status == 503
        end()
    assert tracker.ask("GET", "/a").status == 200
    assert tracker.end() == 0
    lines = [json.loads(line) for line in tracker.log.read_text().splitlines()]
    errors = [line["error"] for line in lines if line["event"] == "redis_does_not_confirm"]
    assert [re.findall("OOM|EvictionAllowed|READONLY", error) for error in errors] == [
        ["OOM"],
        ["EvictionAllowed"],
        ["READONLY"],
    ]


@pytest.mark.parametrize("goes_away", [is_stopped, hangs])
def test_stop_takes_less_than_ten_seconds_when_redis_is_down(
    own_redis: LocalRedis, spooling: Tracker, goes_away: Callable[[LocalRedis], None]
) -> None:
    assert spooling.ask("GET", "/before").status == 200
    goes_away(own_redis)
    assert spooling.ask("GET", "/during").status == 200
    spooling.process.terminate()
    assert spooling.process.wait(timeout_s=10) == 0
    comes_back(own_redis)
    spooling.restart()
    wait_until(lambda: waiting(spooling) == 0)
    assert [event.path for event in spooling.events()] == [b"/before", b"/during"]


def test_start_fails_with_reason_when_redis_may_evict(own_redis: LocalRedis, tmp_path: Path) -> None:
    tracker = Tracker(own_redis.url, tmp_path)
    tracker.redis.config_set("maxmemory-policy", "allkeys-lru")
    tracker.process.stop()
    tracker.start()
    assert tracker.process.wait(timeout_s=20) == 78
    assert "maxmemory-policy is allkeys-lru" in tracker.log.read_text()
    assert "Traceback" not in tracker.log.read_text()
    tracker.redis.close()


def test_start_fails_with_reason_when_spool_directory_is_unusable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = subprocess.run(
        [sys.executable, "-m", "services.tracker"],
        cwd=ROOT,
        env={
            "TRACKER_SPOOL_DIRECTORY": str(tmp_path / "file"),
            "TRACKER_PORT": str(free_port()),
            "INTERNAL_PORT": str(free_port()),
        },
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ended.returncode == 78
    assert "TRACKER_SPOOL_DIRECTORY" in ended.stderr
    assert "Traceback" not in ended.stderr
