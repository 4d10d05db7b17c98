"""A scene of two imageservers, each with a mount of its own, as if on two nodes. MongoDB is outside the machine."""

import http.client
import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from PIL import Image

from tests.nfs.client import mount, report
from tests.nfs.machine import DEFAULT, MONGO_URL, OURS

CLIENTS = 8
STOPPED_S = 60


class Replica:
    """The process of an imageserver on loopback of this machine."""

    def __init__(self, number: int, options: str) -> None:
        self.port, self.internal = 5_061 + number, 9_464 + number
        self._log = Path(f"/mnt/replica-{number}.log")
        scratch = Path(f"/mnt/scratch-{number}")
        scratch.mkdir()
        environ = {
            "IMAGESERVER_PORT": str(self.port), "INTERNAL_PORT": str(self.internal),
            "IMAGESERVER_VOLUME": str(mount(f"replica-{number}", options)), "IMAGESERVER_SCRATCH": str(scratch),
            "IMAGESERVER_MONGO_URL": MONGO_URL, "IMAGESERVER_WORKERS": "1", "IMAGESERVER_WORK_TIMEOUT_S": "30",
        }  # fmt: skip
        with self._log.open("wb") as log:
            command = [sys.executable, "-B", "-m", "services.imageserver"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **environ})

    def wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + 90
        while self.get("/readyz", port=self.internal)[0] != 200:
            has_ended = self._process.poll() is not None
            assert not has_ended, self._log.read_text()[-3000:]
            assert time.monotonic() < deadline_s, self._log.read_text()[-3000:]
            time.sleep(0.5)

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(60)

    def get(self, path: str, *, port: int = 0, body: bytes | None = None) -> tuple[int, float, bytes]:
        """Return the status of a GET, or of a POST with a body (0: no response), its seconds, and the response."""
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=30)
        try:
            connection.request("POST" if body else "GET", path, body=body)
            response = connection.getresponse()
            found = response.read()
            return response.status, time.monotonic() - began, found
        except OSError:
            return 0, time.monotonic() - began, b""
        finally:
            connection.close()

    def usage(self) -> tuple[int, int]:
        """Return the threads and the memory in kB of the process that serves."""
        lines = (line.split() for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines())
        found = {words[0]: words[1] for words in lines if len(words) > 1}
        return int(found["Threads:"]), int(found["VmRSS:"])


def replicas(pictures: str) -> None:
    """Store so many pictures at one replica and read them at the other, with the default options and with ours.

    Then read while the NFS server is stopped.
    """
    pair = Replica(0, DEFAULT), Replica(1, DEFAULT)
    _serve(*pair, int(pictures))
    for replica in pair:
        replica.end()
    stores, serves = Replica(2, OURS), Replica(3, OURS)
    keys = _serve(stores, serves, int(pictures))
    _read_while_stopped(serves, keys)


def _serve(stores: Replica, serves: Replica, pictures: int) -> list[str]:
    """Ask one for a picture that is not there, store it at the other, ask again. Return the keys."""
    for replica in (stores, serves):
        replica.wait_until_ready()
    keys = [os.urandom(32).hex() for _ in range(pictures)]
    outcomes = []
    for key in keys:
        before = serves.get(f"/assets/images/{key}")[0]
        stored = stores.get(f"/assets/upload_with_sha/{key}", body=_picture())[0]
        status, _, found = serves.get(f"/assets/images/{key}")
        outcomes.append((before, stored, status, found[:2] == b"\xff\xd8"))
    report("served", {"of": len(outcomes), "outcomes": [list(each) for each in sorted(set(outcomes))]})
    return keys


def _read_while_stopped(serves: Replica, keys: list[str]) -> None:
    reads: list[tuple[int, float]] = []
    live: list[tuple[int, float]] = []
    ended = threading.Event()
    threads = [threading.Thread(target=_repeat, args=(serves, keys, reads, ended)) for _ in range(CLIENTS)]
    threads.append(threading.Thread(target=_repeat_live, args=(serves, live, ended)))
    for thread in threads:
        thread.start()
    time.sleep(5)
    report("reads", _statuses(reads))
    time.sleep(10)
    reads.clear()
    live.clear()
    before_usage = serves.usage()
    time.sleep(STOPPED_S - 10)
    stopped_reads, stopped_live, after_usage = list(reads), list(live), serves.usage()
    report(
        "stopped",
        {
            "reads": _statuses(stopped_reads),
            "longest_s": max(seconds for _, seconds in stopped_reads),
            "live": _statuses(stopped_live),
            "live_s": sorted(seconds for _, seconds in stopped_live)[int(0.99 * len(stopped_live))],
            "ready": serves.get("/readyz", port=serves.internal)[0],
            "threads": after_usage[0] - before_usage[0],
            "memory_kb": after_usage[1] - before_usage[1],
        },
    )
    time.sleep(20)
    reads.clear()
    time.sleep(3)
    report("recovered", _statuses(reads))
    ended.set()


def _picture() -> bytes:
    file = io.BytesIO()
    Image.frombytes("RGB", (16, 16), os.urandom(768)).resize((100, 80)).save(file, "PNG")
    return file.getvalue()


def _repeat(replica: Replica, keys: list[str], outcomes: list[tuple[int, float]], ended: threading.Event) -> None:
    number = 0
    while not ended.is_set():
        status, seconds, _ = replica.get(f"/assets/images/{keys[number % len(keys)]}")
        outcomes.append((status, seconds))
        number += 1
        time.sleep(0.1)


def _repeat_live(replica: Replica, outcomes: list[tuple[int, float]], ended: threading.Event) -> None:
    while not ended.is_set():
        status, seconds, _ = replica.get("/livez", port=replica.internal)
        outcomes.append((status, seconds))
        time.sleep(0.1)


def _statuses(outcomes: list[tuple[int, float]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for status, _ in list(outcomes):
        counts[str(status)] = counts.get(str(status), 0) + 1
    return counts
