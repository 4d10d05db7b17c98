"""Several worker processes behind one port are one tracker: its promises, its health, its figures, its end."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import psutil
import pytest

from deploy.develop.localstack.ports import LOOPBACK, is_listening
from deploy.develop.localstack.redis import LocalRedis
from services.backbone import names
from tests.contract.tracker_load import Load
from tests.contract.tracker_process import Tracker, read_answer, wait_until

ACCEPTED = "push_tracker_events_accepted_total"


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[LocalRedis]:
    server = LocalRedis(data=tmp_path / "data", log=tmp_path / "redis.log")
    server.start()
    server.wait_ready()
    yield server
    server.process.stop()


class Start(Protocol):
    def __call__(self, redis: LocalRedis, folder: Path, **environ: str) -> Tracker: ...


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts trackers of two workers, and leaves none behind whatever becomes of the test."""
    started: list[Tracker] = []

    def start(redis: LocalRedis, folder: Path, **environ: str) -> Tracker:
        tracker = Tracker(redis.url, folder, TRACKER_WORKERS="2", **environ)
        started.append(tracker)
        tracker.wait_until_ready()
        return tracker

    yield start
    for tracker in started:
        tracker.kill()
        tracker.redis.close()


def workers_of(tracker: Tracker) -> list[psutil.Process]:
    """The worker processes, in the order of their numbers."""
    children = psutil.Process(tracker.pid).children(recursive=True)
    return sorted(children, key=lambda child: child.cmdline()[-3])


def are_gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def records(tracker: Tracker) -> list[dict[str, object]]:
    lines = tracker.log.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def workers_that(tracker: Tracker, event: str) -> list[str]:
    return sorted(str(record.get("worker")) for record in records(tracker) if record["event"] == event)


def readiness(tracker: Tracker) -> dict[str, dict[str, object]]:
    checks: dict[str, dict[str, object]] = json.loads(tracker._get("/readyz")[1])["checks"]
    return checks


def test_one_worker_is_the_process_itself(redis_server: LocalRedis, tmp_path: Path) -> None:
    tracker = Tracker(redis_server.url, tmp_path, TRACKER_WORKERS="1")
    assert psutil.Process(tracker.pid).children() == []
    assert "push_tracker_workers" not in tracker.metrics()
    assert tracker.end() == 0


def test_figures_are_sums_over_the_workers(start: Start, clean_redis: LocalRedis, tmp_path: Path) -> None:
    tracker = start(clean_redis, tmp_path)
    workers = workers_of(tracker)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(tracker.connect()) for _ in range(60)]
        for number in range(300):
            connection = connections[number % len(connections)]
            connection.sendall(b"GET /load HTTP/1.1\r\nHost: x\r\n\r\n")
            assert read_answer(connection).status == 200
        served = [len(worker.net_connections()) for worker in workers]
        assert min(served) > 5, f"one worker has nearly all connections: {served}"
    tracker.ask("DELETE", "/a")
    tracker.ask("DELETE", "/a")
    assert tracker.metric(ACCEPTED) == 300
    assert tracker.metric('push_tracker_requests_total{method="GET",status="200"}') == 300
    assert tracker.metric('push_tracker_requests_total{method="other",status="405"}') == 2
    assert tracker.metric("push_tracker_push_events_sum") == 300
    pushes = tracker.metric("push_tracker_push_events_count")
    assert 1 <= pushes <= 300
    assert tracker.metric("push_tracker_push_seconds_count") == pushes
    assert tracker.metric('push_tracker_push_events_bucket{le="+Inf"}') == pushes
    assert tracker.metric("push_tracker_pending_events") == 0
    assert tracker.metric("push_tracker_workers") == 2
    assert int(tracker.redis.hget(names.LEDGER, "accepted") or 0) == 300
    assert len(tracker.events()) == 300
    assert tracker.end() == 0
    assert tracker.problems() == []


async def test_a_kill_of_a_worker_loses_nothing_that_was_answered_or_counted(
    start: Start, clean_redis: LocalRedis, tmp_path: Path
) -> None:
    tracker = start(clean_redis, tmp_path)
    counted: list[float] = []

    async def watch() -> None:
        while True:
            counted.append(await asyncio.to_thread(tracker.metric, ACCEPTED))
            await asyncio.sleep(0.02)

    def kill(number: int) -> None:
        before = workers_of(tracker)
        before[number].kill()
        wait_until(lambda: tracker.internal("/readyz") == 503)
        assert [check["ok"] for check in readiness(tracker).values()].count(False) <= 1
        wait_until(lambda: tracker.internal("/readyz") == 200)
        after = workers_of(tracker)
        assert after[number].pid != before[number].pid
        assert after[1 - number].pid == before[1 - number].pid

    load = Load(tracker)
    watching = asyncio.create_task(watch())
    await load.during(lambda: kill(0), lambda: kill(1), lambda: kill(0))
    watching.cancel()
    accepted = tracker.metric(ACCEPTED)
    assert tracker.metric("push_tracker_worker_restarts_total") == 3
    assert tracker.end() == 0
    ledger = int(tracker.redis.hget(names.LEDGER, "accepted") or 0)
    stored = [event.id for event in tracker.events()]
    assert load.answered - set(stored) == set()
    assert ledger == len(stored)
    # A push that Redis took and nobody lived to count: none was answered, and a kill cuts off one push at the most.
    assert len(load.answered) <= accepted <= ledger <= accepted + 3 * 20
    assert counted == sorted(counted), "a counter went backwards"


def test_readiness_names_the_worker_that_is_not(start: Start, redis_server: LocalRedis, tmp_path: Path) -> None:
    tracker = start(redis_server, tmp_path)
    second = workers_of(tracker)[1]
    second.suspend()
    try:
        assert tracker.internal("/livez") == 200
        wait_until(lambda: tracker.internal("/readyz") == 503)
        checks = readiness(tracker)
        assert (checks["worker 1"]["ok"], checks["worker 2"]["ok"]) == (True, False)
        assert "no answer within" in str(checks["worker 2"]["detail"])
        # Figures come all the same; what the one that hangs has counted is among them.
        assert "push_tracker_workers 1.0" in tracker.metrics()
    finally:
        second.resume()  # else nothing but a kill would end it
    wait_until(lambda: tracker.internal("/readyz") == 200)
    assert tracker.end() == 0


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced(start: Start, redis_server: LocalRedis, tmp_path: Path) -> None:
    tracker = start(redis_server, tmp_path)
    hanging = workers_of(tracker)[0]
    hanging.suspend()
    wait_until(lambda: are_gone([hanging]), limit_s=60)
    wait_until(lambda: tracker.internal("/readyz") == 200)
    assert tracker.ask("GET", "/a").status == 200
    assert "worker_hangs" in [record["event"] for record in records(tracker)]
    assert tracker.end() == 0


async def test_a_stop_costs_clients_that_go_elsewhere_no_request(
    start: Start, clean_redis: LocalRedis, tmp_path: Path
) -> None:
    trackers = [start(clean_redis, tmp_path / name) for name in ("one", "other")]
    answered = 0
    failed: list[str] = []
    ended = asyncio.Event()

    async def client() -> None:
        nonlocal answered
        here = 0
        while not ended.is_set():
            try:
                reader, writer = await asyncio.open_connection(LOOPBACK, trackers[here].port)
            except ConnectionRefusedError:
                here = 1 - here
                continue
            with contextlib.closing(writer):
                head = b""
                while not (ended.is_set() or b"connection: close" in head):
                    try:
                        writer.write(b"GET /load HTTP/1.1\r\nHost: x\r\n\r\n")
                        head = await reader.readuntil(b"\r\n\r\n")
                        await reader.readexactly(int(re.findall(rb"content-length: (\d+)", head)[0]))
                    except (OSError, asyncio.IncompleteReadError) as error:
                        failed.append(repr(error))
                        break
                    assert head.startswith(b"HTTP/1.1 200 ")
                    answered += 1
            here = 1 - here

    clients = [asyncio.create_task(client()) for _ in range(20)]
    await asyncio.sleep(0.5)
    trackers[0].process.terminate()
    assert await asyncio.to_thread(trackers[0].process.wait, timeout_s=15) == 0
    await asyncio.sleep(0.3)
    ended.set()
    await asyncio.gather(*clients)
    assert failed == []
    assert workers_that(trackers[0], "stopped") == ["1", "2", "None"]
    assert trackers[1].end() == 0
    assert len(trackers[0].events()) == answered > 100
    trackers[0].redis.close()


def test_sigterm_finishes_what_is_in_flight(start: Start, redis_server: LocalRedis, tmp_path: Path) -> None:
    tracker = start(redis_server, tmp_path)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(tracker.connect()) for _ in range(12)]
        for connection in connections:
            connection.sendall(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nx")
        tracker.process.terminate()
        wait_until(lambda: tracker.internal("/readyz") == 503)
        wait_until(lambda: not is_listening(tracker.port))
        for connection in connections:
            connection.sendall(b"=1")
            assert read_answer(connection).status == 200
    assert tracker.process.wait(timeout_s=15) == 0
    assert tracker.problems() == []
    tracker.redis.close()


def test_a_second_signal_ends_all_at_once(start: Start, redis_server: LocalRedis, tmp_path: Path) -> None:
    tracker = start(redis_server, tmp_path, TRACKER_DRAIN_S="4")
    workers = workers_of(tracker)
    tracker.process.terminate()
    wait_until(lambda: workers_that(tracker, "stopping") == ["1", "2", "None"])
    begin = time.monotonic()
    tracker.process.terminate()
    assert tracker.process.wait(timeout_s=10) == 130
    wait_until(lambda: are_gone(workers))
    assert time.monotonic() - begin < 3
    tracker.redis.close()


def test_no_worker_outlives_the_supervisor(start: Start, clean_redis: LocalRedis, tmp_path: Path) -> None:
    tracker = start(clean_redis, tmp_path)
    workers = workers_of(tracker)
    figures = Path(workers[0].cmdline()[-1])
    assert figures.is_dir()
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(tracker.connect()) for _ in range(12)]
        for connection in connections:
            connection.sendall(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nx")
        os.kill(tracker.pid, signal.SIGKILL)
        wait_until(lambda: workers_that(tracker, "stopping") == ["1", "2"])
        for connection in connections:
            connection.sendall(b"=1")
            assert read_answer(connection).status == 200
    wait_until(lambda: are_gone(workers), limit_s=40)
    assert workers_that(tracker, "supervisor_gone") == workers_that(tracker, "stopped") == ["1", "2"]
    assert len(tracker.events()) == 12
    assert not figures.exists()
    tracker.restart()
    assert tracker.end() == 0


def assert_ends_at_start(tracker: Tracker, code: int, message: str) -> None:
    """It says why once, and nothing is left of it."""
    tracker.log.write_text("")
    tracker.start()
    assert tracker.process.wait(timeout_s=20) == code
    log = tracker.log.read_text()
    assert log.count(message) == 1, log
    assert "Traceback" not in log
    tracker.redis.close()


def test_a_port_that_is_taken_is_told_once(start: Start, redis_server: LocalRedis, tmp_path: Path) -> None:
    tracker = start(redis_server, tmp_path)
    # By one that would share it, which must not get a part of the other's requests unnoticed.
    other = start(redis_server, tmp_path / "other")
    other.stop()
    other.env["TRACKER_PORT"] = other.process.env["TRACKER_PORT"] = str(tracker.port)
    assert_ends_at_start(other, 1, f"can't listen on 127.0.0.1:{tracker.port}: Address already in use")
    assert tracker.ask("GET", "/a").status == 200
    assert tracker.end() == 0
    with socket.create_server((LOOPBACK, tracker.port)):
        assert_ends_at_start(other, 1, f"can't listen on 127.0.0.1:{tracker.port}: Address already in use")


def test_what_no_worker_can_run_with_ends_all_with_the_reason(
    start: Start, own_redis: LocalRedis, tmp_path: Path
) -> None:
    tracker = start(own_redis, tmp_path, TRACKER_SPOOL_DIRECTORY=str(tmp_path / "spool"))
    tracker.redis.config_set("maxmemory-policy", "allkeys-lru")
    tracker.stop()
    assert_ends_at_start(tracker, 78, "maxmemory-policy is allkeys-lru")
    tracker.redis.config_set("maxmemory-policy", "noeviction")
    (tmp_path / "file").write_text("")
    tracker.process.env["TRACKER_SPOOL_DIRECTORY"] = str(tmp_path / "file")
    assert_ends_at_start(tracker, 78, "TRACKER_SPOOL_DIRECTORY")
    tracker.process.env["TRACKER_SPOOL_BYTES"] = "1500000"
    assert_ends_at_start(tracker, 78, "TRACKER_SPOOL_BYTES (1500000) must be at least 2097152 for 2 TRACKER_WORKERS")


def test_a_redis_that_never_was_there_is_no_hindrance(start: Start, tmp_path: Path) -> None:
    server = LocalRedis(data=tmp_path / "data", log=tmp_path / "redis.log")
    tracker = start(server, tmp_path, TRACKER_SPOOL_DIRECTORY=str(tmp_path / "spool"))
    paths = {f"/{number}" for number in range(60)}
    assert {tracker.ask("GET", path).status for path in paths} == {200}
    assert tracker.metric("push_tracker_spool_events") == 60
    assert tracker.metric("push_tracker_events_spooled_total") == 60
    assert len(list((tmp_path / "spool").glob("slot-*/*"))) > 3, "only one worker has spooled"
    tracker.restart()
    assert tracker.metric("push_tracker_spool_events") == 60
    workers_of(tracker)[0].kill()
    wait_until(lambda: tracker.metric("push_tracker_worker_restarts_total") == 1)
    wait_until(lambda: tracker.internal("/readyz") == 200)
    assert tracker.metric("push_tracker_spool_events") == 60
    server.start()
    server.wait_ready()
    wait_until(lambda: tracker.metric("push_tracker_spool_events") == 0)
    assert sorted(event.path.decode() for event in tracker.events()) == sorted(paths)
    assert tracker.metric("push_tracker_events_replayed_total") == 60
    assert tracker.end() == 0
    server.process.stop()
