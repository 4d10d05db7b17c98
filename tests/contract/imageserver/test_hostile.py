"""Hostile uploads: each is served or refused by a listed code, in time and bounded memory, and leaves nothing."""

import contextlib
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.contract.imageserver.conftest import Start
from tests.contract.imageserver.hostile import mutations, odd_files
from tests.contract.imageserver.serving import ImageServer, jpeg, wait_until

LISTED = {200, 413, 415, 422}
LONGEST_S = 5.0
WORKER_MB = 300


def workers(server: ImageServer) -> list[psutil.Process]:
    """Return the worker processes: the children of the server's children, which are the fork server and its like."""
    return [child for own in psutil.Process(server.process.pid).children() for child in own.children()]


def peak_mb(process: psutil.Process) -> float:
    """Return the most memory that a process had since its start; 0 if it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


class Watch(threading.Thread):
    """Uploads a good picture every 200 ms, and reads the peak memory of the workers."""

    def __init__(self, server: ImageServer) -> None:
        super().__init__(daemon=True)
        self.seconds: list[float] = []
        self.most_mb = 0.0
        self._server = server
        self._ended = threading.Event()

    def run(self) -> None:
        number = 0
        while not self._ended.wait(0.2):
            number += 1
            begun = time.monotonic()
            response = self._server.upload(jpeg(1_000_000 + number))
            self.seconds.append(time.monotonic() - begun)
            assert response.status_code == 200, response.text
            for worker in workers(self._server):
                self.most_mb = max(self.most_mb, peak_mb(worker))

    def end(self) -> None:
        self._ended.set()
        self.join()


def attack(server: ImageServer, uploads: Iterable[bytes]) -> int:
    """Send uploads and check each response. Return the number of accepted ones."""
    stored: set[str] = set()
    for content in uploads:
        begun = time.monotonic()
        response = server.upload(content)
        assert time.monotonic() - begun < LONGEST_S
        assert response.status_code in LISTED, response.text
        if response.status_code == 200:
            stored.add(response.text)
            assert server.reader.get(f"{response.text}/thumb").status_code == 200
    return len(stored)


def check_nothing_left(server: ImageServer, accepted: int, idle: int) -> None:
    assert len(server.files()) == 8 * accepted
    assert list(server.scratch.glob("*/*/*")) == []
    wait_until(lambda: len(workers(server)) == idle)
    family = psutil.Process(server.process.pid).children(recursive=True)
    assert not [each for each in family if each.status() == psutil.STATUS_ZOMBIE]


def test_damaged_pictures_are_served_or_refused(start: Start) -> None:
    server = start()
    idle = len(workers(server))
    accepted = attack(server, mutations(60, seed=17))
    check_nothing_left(server, accepted, idle)
    assert idle == 2


@pytest.mark.slow
@pytest.mark.measures
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "count", [2_000, pytest.param(30_000, marks=[pytest.mark.endurance, pytest.mark.timeout(3_600)])]
)
def test_hostile_uploads_disturb_no_good_one(start: Start, count: int) -> None:
    server = start()
    idle = len(workers(server))
    idle_mb = max(peak_mb(worker) for worker in workers(server))
    files = odd_files()
    watch = Watch(server)
    watch.start()
    accepted = attack(server, files.values())
    accepted += attack(server, mutations(count, seed=2_026))
    watch.end()
    check_nothing_left(server, accepted + len(watch.seconds), idle)
    p95_s = sorted(watch.seconds)[int(0.95 * len(watch.seconds))]
    print(f"good uploads: p95 {1000 * p95_s:.0f} ms; a worker: {watch.most_mb - idle_mb:.0f} MB above an idle one")  # noqa: T201
    assert watch.most_mb - idle_mb < WORKER_MB
    assert p95_s < 0.3


@pytest.mark.slow
@pytest.mark.measures
@pytest.mark.timeout(300)
def test_hostile_uploads_of_more_clients_than_workers_get_a_response_in_time(start: Start) -> None:
    server = start()

    def upload(content: bytes) -> tuple[int, float]:
        begun_s = time.monotonic()
        status = server.upload(content).status_code
        return status, time.monotonic() - begun_s

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(upload, [*odd_files().values()] * 3))
    assert {status for status, _ in found} <= {*LISTED, 429}
    assert max(seconds for _, seconds in found) < LONGEST_S
    wait_until(lambda: server.upload(jpeg(1)).status_code == 200)


@pytest.mark.slow
@pytest.mark.measures
@pytest.mark.timeout(300)
def test_odd_file_is_served_or_refused_as_its_name_states(start: Start) -> None:
    server = start()
    for name, content in odd_files().items():
        begun = time.monotonic()
        status = server.upload(content).status_code
        assert (status == 200) == name.startswith("g"), f"{name}: {status}"
        assert time.monotonic() - begun < LONGEST_S, name
