"""Uploads, deletions and sweeps at the same time, on two replicas that share a volume and a database."""

import hashlib
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.contract.imageserver.conftest import Start
from tests.contract.imageserver.serving import ImageServer, jpeg

SIZES = ("original", "thumb", "iconbigger", "icon")


class LoopingReader(threading.Thread):
    """Reads all sizes of a picture in a loop, and collects the statuses and the bodies."""

    def __init__(self, url: str, path: str) -> None:
        super().__init__(daemon=True)
        self.statuses: set[int] = set()
        self.bodies: dict[str, set[bytes]] = {size: set() for size in SIZES}
        self._url = f"{url}{path}"
        self._ended = threading.Event()

    def run(self) -> None:
        with httpx.Client(timeout=90) as client:
            while not self._ended.is_set():
                for size in SIZES:
                    response = client.get(f"{self._url}/{size}")
                    self.statuses.add(response.status_code)
                    if response.status_code == 200:
                        self.bodies[size].add(response.content)

    def end(self) -> None:
        self._ended.set()
        self.join()


def at_once(calls: list[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def check_whole_or_absent(server: ImageServer, path: str) -> bool:
    """Return whether a picture is published. Fail if it is published without one of its files."""
    statuses = {server.reader.get(f"{path}/{size}").status_code for size in SIZES}
    assert statuses in ({200}, {404}), statuses
    return statuses == {200}


def test_equal_uploads_at_once_are_one_asset(start: Start) -> None:
    replicas = [start(), start()]
    content = jpeg(1)
    responses = at_once([lambda each=each: replicas[each % 2].upload(content) for each in range(20)])  # type: ignore[misc]
    assert {(response.status_code, response.text) for response in responses} == {
        (200, f"/assets/images/{hashlib.sha256(content).hexdigest()}")
    }
    assert len(replicas[0].files()) == 8
    stored = sum(replica.metric("push_imageserver_uploads_total", outcome="stored") for replica in replicas)
    assert stored == 1


def test_different_uploads_of_a_key_at_once_are_one_asset(start: Start) -> None:
    replicas = [start(), start()]
    key = secrets.token_hex(32)
    responses = at_once([lambda each=each: replicas[each % 2].upload(jpeg(each), key) for each in range(6)])  # type: ignore[misc]
    assert {(response.status_code, response.text) for response in responses} == {(200, f"/assets/images/{key}")}
    assert len(replicas[0].files()) == 8
    bodies = {replica.reader.get(f"/assets/images/{key}").content for replica in replicas}
    assert len(bodies) == 1


@pytest.mark.parametrize(
    "rounds", [10, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(300)])], ids=["short", "long"]
)
def test_deletion_and_upload_at_once_leave_a_whole_picture_or_none(start: Start, rounds: int) -> None:
    replicas = [start(), start()]
    content = jpeg(2)
    path = replicas[0].path_of(content)
    readers = [LoopingReader(replica.url, path) for replica in replicas]
    for reader in readers:
        reader.start()
    for number in range(rounds):
        uploader, deleter = replicas[number % 2], replicas[(number + 1) % 2]
        deleted, uploaded = at_once([lambda: deleter.client.delete(path), lambda: uploader.upload(content)])  # noqa: B023
        assert deleted.status_code in (204, 404)
        assert uploaded.status_code == 200
        check_whole_or_absent(replicas[0], path)
    for reader in readers:
        reader.end()
        assert reader.statuses == {200, 404}
        # Each upload encodes the same bytes, so any other body is a part of a picture.
        assert {size: len(bodies) for size, bodies in reader.bodies.items()} == dict.fromkeys(SIZES, 1)
    # A reader gets 404 for a picture without files, too, and this is logged.
    assert not any("file_gone" in replica.log.read_text() for replica in replicas)
    replicas[0].path_of(content)
    assert check_whole_or_absent(replicas[1], path)


def test_asset_of_one_replica_is_served_by_the_other_at_once(start: Start) -> None:
    one, other = start(), start()
    for seed in range(10):
        content = jpeg(seed)
        path = f"/assets/images/{hashlib.sha256(content).hexdigest()}"
        assert other.reader.get(path).status_code == 404
        assert one.path_of(content) == path
        assert check_whole_or_absent(other, path)
