"""Uploads, deletions and sweeps at the same time, on two replicas that share a volume and a database."""

import hashlib
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.contract.imageserver.conftest import Start
from tests.contract.imageserver.serving import ImageServer, jpeg

SIZES = ("original", "thumb", "iconbigger", "icon")


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
    for number in range(rounds):
        uploader, deleter = replicas[number % 2], replicas[(number + 1) % 2]
        deleted, uploaded = at_once([lambda: deleter.client.delete(path), lambda: uploader.upload(content)])  # noqa: B023
        assert deleted.status_code in (204, 404)
        assert uploaded.status_code == 200
        check_whole_or_absent(replicas[0], path)
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
