"""The tracker and its Redis are stopped, killed and started. Each event with a 2xx response stays stored."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from deploy.develop.localstack.ports import is_listening
from deploy.develop.localstack.redis import LocalRedis
from tests.contract.tracker_load import Load, assert_all_accepted_is_stored
from tests.contract.tracker_process import Tracker, read_response, wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[LocalRedis]:
    server = LocalRedis(data=tmp_path / "data", log=tmp_path / "redis.log")
    server.start()
    server.wait_ready()
    yield server
    server.process.stop()


def test_requests_get_503_until_redis_returns(own_redis: LocalRedis, tmp_path: Path) -> None:
    own_redis.process.stop()
    tracker = Tracker(own_redis.url, tmp_path)
    assert tracker.internal("/readyz") == 503
    response = tracker.ask("GET", "/a")
    assert (response.status, response.headers["retry-after"]) == (503, "2")
    own_redis.start()
    wait_until(lambda: tracker.internal("/readyz") == 200)
    assert tracker.ask("GET", "/b").status == 200
    own_redis.process.send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    assert tracker.ask("GET", "/c").status == 503
    assert time.monotonic() - begin < 3
    own_redis.process.send_signal(signal.SIGCONT)
    wait_until(lambda: tracker.ask("GET", "/d").status == 200)
    assert b"/d" in [event.path for event in tracker.events()]
    assert tracker.end() == 0


@pytest.fixture
def durable_redis(own_redis: LocalRedis) -> LocalRedis:
    """A Redis that confirms what a kill of its process can't undo.

    With `everysec` it may, while a sync is under way, confirm what it has not yet written even to the page cache.
    """
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("appendfsync", "always")
    return own_redis


async def test_events_with_2xx_survive_kill_of_tracker(clean_redis: LocalRedis, tmp_path: Path) -> None:
    tracker = Tracker(clean_redis.url, tmp_path)

    def kill_and_restart() -> None:
        tracker.kill()
        tracker.restart()

    load = Load(tracker)
    await load.during(kill_and_restart, kill_and_restart)
    assert_all_accepted_is_stored(load, tracker)
    assert tracker.end() == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [15, pytest.param(50, marks=pytest.mark.endurance)])
async def test_kills_of_tracker_lose_no_event_with_2xx(own_redis: LocalRedis, tmp_path: Path, kills: int) -> None:
    # The kills come while Redis works, while events go to the spool, and during the replay of the spool.
    dice = random.Random(20_261_123)
    tracker = Tracker(own_redis.url, tmp_path, TRACKER_SPOOL_DIRECTORY=str(tmp_path / "spool"))
    states: Counter[str] = Counter()

    def change_redis() -> str:
        if own_redis.process.is_alive and dice.random() < 0.5:
            own_redis.process.stop()
        elif not own_redis.process.is_alive and dice.random() < 0.6:
            own_redis.start()
            own_redis.wait_ready()
            return "comes back"
        return "is well" if own_redis.process.is_alive else "is away"

    def kill_and_restart() -> None:
        states[change_redis()] += 1
        time.sleep(dice.uniform(0.01, 0.5))
        tracker.kill()
        tracker.restart()

    load = Load(tracker)
    await load.during(*[kill_and_restart] * kills)
    if not own_redis.process.is_alive:
        own_redis.start()
        own_redis.wait_ready()
    await asyncio.to_thread(wait_until, lambda: tracker.metric("push_tracker_spool_events") == 0, 60)
    sys.stdout.write(f"\nkilled while Redis {dict(states)}; {len(load.responded)} events got a 2xx response\n")
    assert min(states[state] for state in ("is well", "is away", "comes back")) > 0
    assert_all_accepted_is_stored(load, tracker)
    assert tracker.end() == 0


async def test_events_with_2xx_survive_kill_of_redis(durable_redis: LocalRedis, tmp_path: Path) -> None:
    tracker = Tracker(durable_redis.url, tmp_path)

    def kill_and_restart() -> None:
        durable_redis.process.kill()
        durable_redis.start()
        durable_redis.wait_ready()

    load = Load(tracker)
    await load.during(kill_and_restart)
    assert_all_accepted_is_stored(load, tracker)
    assert tracker.end() == 0


@pytest.mark.parametrize("direct", ["on", "off"])
def test_sigterm_finishes_requests_in_flight(redis_server: LocalRedis, tmp_path: Path, direct: str) -> None:
    tracker = Tracker(redis_server.url, tmp_path, TRACKER_DIRECT_GETS=direct)
    with tracker.connect() as connection:
        connection.sendall(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nx")
        tracker.process.terminate()
        wait_until(lambda: tracker.internal("/readyz") == 503)
        during = tracker.ask("GET", "/during-drain")
        # Clients with open connections must connect to another tracker before the port closes.
        assert (during.status, during.headers.get("connection")) == (200, "close")
        wait_until(lambda: not is_listening(tracker.port))  # after the drain delay only this connection is left
        connection.sendall(b"=1")
        assert read_response(connection).status == 200
    assert tracker.process.wait(timeout_s=10) == 0
    assert {b"/slow", b"/during-drain"} <= {event.path for event in tracker.events()}
    assert tracker.problems() == []
    tracker.redis.close()


def test_start_fails_with_one_message_when_settings_are_invalid() -> None:
    environ = {"TRACKER_PORT": "0", "REDIS_URL": "http://:hunter2@x", "TRUSTED_PROXIES": "x", "MAX_EVENT_BYTES": "many"}
    ended = subprocess.run(
        [sys.executable, "-m", "services.tracker"],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ended.returncode == 78
    assert all(f"{name}: " in ended.stderr for name in environ)
    assert "hunter2" not in ended.stderr
    assert "Traceback" not in ended.stderr
