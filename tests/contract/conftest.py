"""Processes that the contract tests of a service share."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.develop.localstack.kafka import KafkaBroker
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


@pytest.fixture
def true_end_offsets(kafka_broker: KafkaBroker) -> None:
    """Skip tests that need the end offsets of the topic."""
    if kafka_broker.kind == "tansu":
        pytest.skip("the end offsets of Tansu include only one record of the last batch")


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


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[LocalRedis]:
    """A Redis that a test may stop or kill."""
    server = LocalRedis(data=tmp_path / "data", log=tmp_path / "redis.log")
    server.start()
    server.wait_ready()
    yield server
    server.process.send_signal(signal.SIGCONT)
    server.process.stop()


@pytest.fixture
def spooling(own_redis: LocalRedis, tmp_path: Path) -> Iterator[Tracker]:
    """A tracker with a spool."""
    tracker = Tracker(own_redis.url, tmp_path, TRACKER_SPOOL_DIRECTORY=str(tmp_path / "spool"))
    yield tracker
    assert tracker.end() == 0
