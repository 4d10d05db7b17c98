"""Each fault fires its own alert within a minute, and no other alert. The alert clears after the repair.

A real Prometheus with the shipped rules scrapes every service of a real system, which has visitors all the time.
"""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from deploy import catalog
from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaBroker, KafkaKind
from deploy.develop.localstack.redis import LocalRedis
from deploy.develop.localstack.services import ServiceProcess
from tests.alerts import fires_alone
from tests.chaos.prometheus import MONITORING, Prometheus, config_for, jobs_of

# CI injects faults into the compose stack (tests/system/test_alerts.py). Here, in the endurance suite, faults last
# longer, and the tests wait until no alert is suppressed.
pytestmark = [pytest.mark.timeout(900)]

BROKEN_S = 65
BACK_WITHIN_S = 150  # a broker on a busy machine
HELD_BACK_S = 130
"""How long the rules suppress alerts on consequences after a repair, and a margin."""
FILLED_S = 65
"""How long it takes until rates over a minute have all their samples."""
TARGETS = (
    "/offr?action=preview&text=jazz&di=d1",
    "/open.gif?di=d2",
    "/srch?action=search&kw=sofa&di=d3",
    "/geo?di=d4&lt=52.5&lg=13.4",
)


class Watched(NamedTuple):
    """A system, and the Prometheus that scrapes it."""

    stack: LocalStack
    counters_redis: LocalRedis
    prometheus: Prometheus


@contextlib.contextmanager
def visitors(tracker_url: str, *, every_s: float = 0.05) -> Iterator[None]:
    """Send events while the block runs, and ignore errors of single events."""
    address = urlsplit(tracker_url)
    stop = threading.Event()

    def visit() -> None:
        number = 0
        while not stop.wait(every_s):
            connection = HTTPConnection(str(address.hostname), address.port, timeout=5)
            with contextlib.suppress(OSError, HTTPException):
                connection.request("GET", TARGETS[number % len(TARGETS)])
                connection.getresponse().read()
            connection.close()
            number += 1

    thread = threading.Thread(target=visit, name="visitors")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def watched(kafka_kind: KafkaKind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with LocalStack(kafka=kafka_kind, mongo="auto") as stack:
        # As in production, the counters have a separate Redis, so each of the two can be down alone.
        counters_redis = stack.start_redis("counters-redis")
        env = {
            "COUNTERS_REDIS_URL": counters_redis.url,
            "TRACKER_SPOOL_DIRECTORY": str(stack.data_directory / "spool"),
            # On a busy machine a push can take longer than the default of this limit.
            "TRACKER_SPOOL_AFTER_S": "1",
        }
        for found in catalog.load().watched:
            stack.start_service(found.service, *found.arguments, env=env, label=found.name)
        stack.wait_until_ready()
        prometheus = Prometheus(config_for(jobs_of(stack)), tmp_path_factory.mktemp("prometheus"))
        prometheus.start()
        try:
            with visitors(stack.tracker_url):
                time.sleep(FILLED_S)
                yield Watched(stack, counters_redis, prometheus)
        finally:
            prometheus.process.stop()


@pytest.mark.chaos
def test_rules_have_values_and_panels_have_data_when_the_system_is_healthy(watched: Watched) -> None:
    prometheus = watched.prometheus
    up = {sample["metric"]["job"]: sample["value"][1] for sample in prometheus.query("up")}
    assert up == dict.fromkeys(jobs_of(watched.stack), "1")
    assert prometheus.firing() == set()
    rules = prometheus.recording_rules()
    assert rules == dict.fromkeys(rules, "ok")
    assert [name for name in rules if not prometheus.query(name)] == []

    empty = []
    for panel in json.loads((MONITORING / "dashboards" / "pipeline.json").read_text())["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"].replace("$__rate_interval", "1m")
            if not prometheus.query(expression):
                empty.append((panel["title"], expression))
    assert empty == []


@contextlib.contextmanager
def away(server: LocalRedis | KafkaBroker) -> Iterator[None]:
    server.process.stop()
    try:
        yield
    finally:
        server.start()
        server.process.wait_until(server.responds, timeout_s=BACK_WITHIN_S)


@contextlib.contextmanager
def stopped(service: ServiceProcess) -> Iterator[None]:
    service.stop()
    try:
        yield
    finally:
        service.restart()


@pytest.mark.endurance
def test_alert_fires_alone_when_the_redis_of_the_queue_is_down(watched: Watched) -> None:
    fires_alone(watched.prometheus, "tracker-redis", away(watched.stack.redis), broken_s=BROKEN_S)


@pytest.mark.endurance
def test_alert_fires_alone_when_the_redis_of_the_counters_is_down(watched: Watched) -> None:
    fires_alone(watched.prometheus, "counters-redis", away(watched.counters_redis), broken_s=BROKEN_S)


@pytest.mark.endurance
def test_alert_fires_alone_when_kafka_is_down(watched: Watched) -> None:
    if watched.stack.kafka.kind != "apache":
        pytest.skip("Tansu loses its data at a restart")
    fires_alone(watched.prometheus, "kafka", away(watched.stack.kafka), broken_s=BROKEN_S)


@pytest.mark.endurance
def test_alert_fires_alone_when_kafkastore_is_down(watched: Watched) -> None:
    fires_alone(watched.prometheus, "kafkastore", stopped(watched.stack.service("kafkastore")), broken_s=BROKEN_S)


@pytest.mark.endurance
def test_no_alert_fires_after_the_suppression_has_ended(watched: Watched) -> None:
    watched.prometheus.stays(set(), until_s=time.monotonic() + HELD_BACK_S)
