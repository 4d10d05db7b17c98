"""Failures of workers, of the volume, of clients and of the process itself."""

import hashlib
import os
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import httpx
import psutil
import pytest
from PIL import Image

from tests.contract.imageserver.conftest import Start
from tests.contract.imageserver.serving import PATIENT, SERVICE, ImageServer, encoded, jpeg, wait_until
from tests.contract.imageserver.test_hostile import workers


def long_work() -> bytes:
    """Return a picture that keeps a worker busy for about a second."""
    return encoded(Image.new("RGBA", (6_000, 4_000), (*secrets.token_bytes(3), 90)), "PNG", compress_level=1)


def working(server: ImageServer) -> bool:
    return server.metric("push_imageserver_working") >= 1


def busy_worker(server: ImageServer) -> psutil.Process:
    return max(workers(server), key=lambda worker: worker.memory_info().rss)


def test_killed_worker_costs_nothing_but_a_second_attempt(start: Start) -> None:
    server = start(IMAGESERVER_WORK_TIMEOUT_S="30")
    content = long_work()
    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(server.upload, content)
        wait_until(lambda: working(server))
        wait_until(lambda: busy_worker(server).memory_info().rss > 100e6)
        busy_worker(server).kill()
        assert server.upload(jpeg(1)).status_code == 200
        assert upload.result().status_code == 200
    assert server.metric("push_imageserver_worker_kills_total", cause="died") == 1
    wait_until(lambda: len(workers(server)) == 2)


def test_picture_over_the_time_limit_is_refused(start: Start) -> None:
    server = start(IMAGESERVER_WORK_TIMEOUT_S="5")
    content = long_work()
    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(server.upload, content)
        wait_until(lambda: working(server))
        wait_until(lambda: busy_worker(server).memory_info().rss > 100e6)
        busy_worker(server).suspend()  # as a decoder in an endless loop
        response = upload.result()
    assert (response.status_code, response.json()["error"]) == (422, "too_much_work")
    assert server.metric("push_imageserver_worker_kills_total", cause="time") == 1
    assert server.files() == []
    assert server.upload(jpeg(2, 32, 32)).status_code == 200


def test_full_queue_is_refused_at_once(start: Start) -> None:
    server = start(IMAGESERVER_WORKERS="1", IMAGESERVER_QUEUE="0", IMAGESERVER_WORK_TIMEOUT_S="30")
    server.reader.get("/asset/1/available")  # the connection is open
    content = long_work()
    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(httpx.post, f"{server.url}/assets/upload", content=content, auth=SERVICE, timeout=60)
        wait_until(lambda: working(server))
        begun = time.monotonic()
        response = server.upload(jpeg(3))
        seconds = time.monotonic() - begun
        assert upload.result().status_code == 200
    assert (response.status_code, response.json()["error"]) == (429, "queue_full")
    assert response.headers["retry-after"] == "1"
    assert seconds < 0.5  # the bound of an idle machine is 50 ms; the worker of this test takes a core


def send_slowly(server: ImageServer, head: bytes, *, limit_s: float) -> bytes:
    """Send a byte ten times a second until the server closes the connection. Return what it has sent."""
    received = b""
    with socket.create_connection(("127.0.0.1", int(server.environ["IMAGESERVER_PORT"])), timeout=5) as connection:
        connection.sendall(head)
        connection.settimeout(0.1)
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            try:
                connection.send(b"x")
                piece = connection.recv(65_536)
                if not piece:
                    return received
                received += piece
            except TimeoutError:
                continue
            except OSError:
                return received
    pytest.fail("the connection is still open")


def basic() -> bytes:
    request = httpx.Request("POST", "http://x")
    flow = httpx.BasicAuth(*SERVICE).auth_flow(request)
    return next(flow).headers["authorization"].encode()


def test_slow_upload_is_cut_off(start: Start) -> None:
    server = start(IMAGESERVER_UPLOAD_STALL_S="1")
    head = (
        b"POST /assets/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nAuthorization: " + basic() + b"\r\n\r\n"
    )
    response = send_slowly(server, head, limit_s=5)
    assert response.startswith(b"HTTP/1.1 408 ")
    assert b"too_slow" in response
    assert server.upload(jpeg(4)).status_code == 200


def test_body_over_the_limit_is_refused_while_it_comes(start: Start) -> None:
    server = start(IMAGESERVER_MAX_BYTES="100000")
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1_000):
            sent += 65_536
            yield bytes(65_536)

    declared = server.upload(bytes(200_000))
    assert (declared.status_code, declared.json()["error"]) == (413, "too_many_bytes")
    response = server.client.post("/assets/upload", content=endless())
    assert response.status_code == 413
    form = server.client.post("/assets/upload", files={"file": bytes(120_000)})
    assert (form.status_code, form.json()["error"]) == (413, "too_many_bytes")


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 200 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small filesystem")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_full_volume_publishes_nothing_and_works_again(start: Start, small_volume: Path) -> None:
    server = start(volume=small_volume)
    # Each amount of free space lets another one of the writes fail.
    refused = 0
    for free_kb in range(0, 60, 6):
        filler = small_volume / "filler"
        filler.write_bytes(b"")
        space = os.statvfs(small_volume)
        with filler.open("wb") as file:
            file.write(bytes(max(0, space.f_bavail * space.f_frsize - 1024 * free_kb)))
        content = jpeg(100 + free_kb)
        response = server.upload(content)
        if response.status_code != 200:
            refused += 1
            assert (response.status_code, response.json()["error"]) == (507, "volume_full")
            assert server.files() == []
        filler.unlink()
        assert server.upload(content).status_code == 200
        assert server.client.delete(server.upload(content).text).status_code == 204
        for path in server.files():
            path.unlink()
    assert refused >= 3


def test_full_local_disk_is_507_too(start: Start, small_volume: Path) -> None:
    server = start(IMAGESERVER_SCRATCH=str(small_volume))
    response = server.upload(encoded(Image.effect_noise((900, 900), 90)))
    assert (response.status_code, response.json()["error"]) == (507, "volume_full")
    assert server.upload(jpeg(8, 64, 64)).status_code == 200
    assert list(small_volume.glob("*/*/*")) == []


def test_hanging_volume_is_503_and_delays_nothing_else(start: Start) -> None:
    server = start(IMAGESERVER_VOLUME_TIMEOUT_S="0.5", IMAGESERVER_VOLUME_THREADS="2")
    path, known = server.path_of(jpeg(5)), server.path_of(jpeg(6))
    etag = server.reader.get(known).headers["etag"]
    name = server.reader.get(f"{path}/thumb").headers["etag"].strip('"')
    file = server.volume / name[:2] / name
    content = file.read_bytes()
    file.unlink()
    os.mkfifo(file)  # an open of it waits for a writer, as one of a file on a dead NFS server
    threads = psutil.Process(server.process.pid).num_threads()
    with (
        httpx.Client(base_url=server.internal_url) as internal,
        httpx.Client(base_url=server.url, timeout=30, limits=httpx.Limits(max_connections=60)) as reader,
        ThreadPoolExecutor(60) as pool,
    ):
        internal.get("/livez")  # the connection is open
        reads = [pool.submit(reader.get, f"{path}/thumb") for _ in range(60)]
        time.sleep(0.2)
        begun = time.monotonic()
        assert internal.get("/livez").status_code == 200
        assert time.monotonic() - begun < 0.5
        assert server.reader.get(known, headers={"If-None-Match": etag}).status_code == 304
        assert {read.result().status_code for read in reads} == {503}
    assert psutil.Process(server.process.pid).num_threads() <= threads + 2
    assert server.upload(jpeg(7)).status_code == 200  # writers have threads of their own
    released = [os.open(file, os.O_RDWR | os.O_NONBLOCK)]
    file.unlink()
    file.write_bytes(content)
    wait_until(lambda: server.reader.get(f"{path}/thumb").status_code == 200)
    os.close(released[0])


def test_upload_in_flight_is_finished_at_a_stop(start: Start) -> None:
    server = start(IMAGESERVER_WORK_TIMEOUT_S="30")
    with ThreadPoolExecutor(1) as pool:
        upload = pool.submit(server.upload, long_work())
        wait_until(lambda: working(server))
        server.process.terminate()
        assert upload.result().status_code == 200
    assert server.process.wait(20) == 0
    assert len(server.files()) == 8


def test_killed_process_leaves_no_worker(start: Start) -> None:
    server = start()
    family = psutil.Process(server.process.pid).children(recursive=True)
    assert len(family) >= 3
    server.kill()
    wait_until(lambda: not any(each.is_running() for each in family))


CALLS = 56
"""The system calls on the volume of one upload: seven for each file. A new directory takes three more."""


class Reader(threading.Thread):
    """Reads the newest pictures in a loop, from before their upload on, and collects the lengths of the bodies."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.paths: list[str] = []
        self.lengths: dict[str, set[int]] = {}
        self.other_statuses: set[int] = set()
        self._url = url
        self._ended = threading.Event()

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=90) as reader:
            while not self._ended.wait(0.01):
                for path in self.paths[-2:]:
                    response = reader.get(f"{path}/thumb")
                    if response.status_code == 200:
                        self.lengths.setdefault(path, set()).add(len(response.content))
                    elif response.status_code != 404:
                        self.other_statuses.add(response.status_code)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize(
    "calls", [[30], pytest.param(range(1, CALLS + 1), marks=[pytest.mark.endurance])], ids=["one_call", "each_call"]
)
def test_kill_after_a_call_on_the_volume_shows_no_part_of_a_picture(start: Start, calls: Sequence[int]) -> None:
    server = start(IMAGESERVER_STRAY_AGE_S="20", IMAGESERVER_SWEEP_S="1", **PATIENT)
    killed = 0
    with Reader(server.url) as reader:
        for number in calls:
            content = jpeg(1_000 + number)
            path = f"/assets/images/{hashlib.sha256(content).hexdigest()}"
            reader.paths.append(path)
            doomed = start(command=("tests.contract.imageserver.doomed", str(number)), **PATIENT)
            try:
                doomed.upload(content)
            except httpx.HTTPError:
                killed += 1
            doomed.kill()
            assert server.path_of(content) == path
            wait_until(lambda: path in reader.lengths, timeout_s=60)  # noqa: B023 - it is called in this round
    assert killed == len(calls)
    assert reader.other_statuses == set()
    assert {path: len(lengths) for path, lengths in reader.lengths.items()} == dict.fromkeys(reader.paths, 1)
    wait_until(lambda: len(server.files()) == 8 * len(calls), timeout_s=60)
