"""Processes that the contract tests of a service share."""

from collections.abc import Iterator

import pytest

from deploy.develop.localstack.redis import LocalRedis
from tests.contract.kafkastore_bench import (
    admin,
    dead_letters,
    doom,
    events,
    kafkastore,
    queue,
    redis_beside_the_tracker,
)
from tests.contract.tracker_process import Tracker

# Fixtures of the tests of kafkastore, which are found here.
__all__ = ["admin", "dead_letters", "doom", "events", "kafkastore", "queue", "redis_beside_the_tracker"]


@pytest.fixture(scope="module", params=["direct", "application"])
def tracker_process(
    request: pytest.FixtureRequest, redis_server: LocalRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tracker]:
    """Yield a tracker that all tests of a file share (see `tracker`), for each way in which it serves plain GETs."""
    direct = "off" if request.param == "application" else "on"
    folder = tmp_path_factory.mktemp("tracker")
    tracker = Tracker(redis_server.url, folder, TRACKER_DIRECT_GETS=direct)
    tracker.wait_until_ready()
    yield tracker
    assert tracker.end() == 0
    assert tracker.problems() == []


@pytest.fixture
def tracker(tracker_process: Tracker) -> Tracker:
    """Return the shared tracker, with an empty Redis."""
    tracker_process.redis.flushdb()
    return tracker_process
