"""A process of `python -m services.canary` reports each stage, and the right late stage when a service is stopped."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaKind
from deploy.develop.localstack.services import ServiceProcess

ROOT = Path(__file__).parents[2]
STAGES = ("answered", "topic", "counted")
ADDRESSES = ("REDIS_URL", "COUNTERS_REDIS_URL", "ACTIONS_REDIS_URL", "KAFKA_BOOTSTRAP_SERVERS")
CANARY = {"CANARY_INTERVAL_S": "0.3", "CANARY_LATE_S": "3"}


@pytest.fixture(scope="module")
def stack(kafka_kind: KafkaKind) -> Iterator[LocalStack]:
    with LocalStack(kafka=kafka_kind) as started:
        started.start_service("tracker")
        started.start_service("kafkastore")
        started.start_service("consumers", "event_counter")
        started.wait_until_ready()
        started.start_service("canary", env=CANARY)
        started.wait_until_ready()
        yield started


def value(canary: ServiceProcess, metric: str, stage: str) -> float:
    found = re.search(rf'^{metric}\{{stage="{stage}"\}} (\S+)$', canary.metrics(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def seen(canary: ServiceProcess, stage: str) -> float:
    return value(canary, "push_canary_events_seen_total", stage)


def late(canary: ServiceProcess) -> dict[str, float]:
    return {stage: value(canary, "push_canary_events_late_total", stage) for stage in STAGES}


def eventually(condition: Callable[[], bool], *, limit_s: float = 30.0) -> None:
    until_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until_s, f"the condition did not hold within {limit_s:.0f} s"
        time.sleep(0.1)


def grows(canary: ServiceProcess, stage: str) -> Callable[[], bool]:
    before = late(canary)[stage]
    return lambda: late(canary)[stage] >= before + 2


def comes_through(canary: ServiceProcess) -> None:
    before = seen(canary, "counted")
    eventually(lambda: seen(canary, "counted") >= before + 2)


def test_canary_reaches_every_stage(stack: LocalStack) -> None:
    canary = stack.service("canary")
    eventually(lambda: all(seen(canary, stage) >= 3 for stage in STAGES))
    responded, topic, counted = (
        value(canary, "push_canary_stage_seconds_sum", stage) / value(canary, "push_canary_stage_seconds_count", stage)
        for stage in STAGES
    )
    assert 0 < responded <= topic <= counted < 3
    for stage in STAGES:
        assert abs(value(canary, "push_canary_last_success_timestamp_seconds", stage) - time.time()) < 10


def test_canaries_are_counted_like_other_events(stack: LocalStack) -> None:
    comes_through(stack.service("canary"))
    where = {name: stack.environment()[name] for name in ADDRESSES}
    command = [sys.executable, "tasks.py", "status", "--json"]
    shown = subprocess.run(command, cwd=ROOT, env={**os.environ, **where}, capture_output=True, text=True, check=True)
    status = json.loads(shown.stdout.splitlines()[-1])
    assert status["top_types"]["canary"] > 0
    assert status["ledger"]["balanced"]


def test_canary_is_late_at_counted_when_the_consumer_is_stopped(stack: LocalStack) -> None:
    canary, consumer = stack.service("canary"), stack.service("consumers.event_counter")
    comes_through(canary)
    others = {stage: late(canary)[stage] for stage in ("answered", "topic")}
    consumer.stop()
    eventually(grows(canary, "counted"))
    assert {stage: late(canary)[stage] for stage in ("answered", "topic")} == others
    consumer.restart()
    comes_through(canary)


def test_canary_is_late_at_topic_with_one_line_each_when_kafkastore_is_stopped(stack: LocalStack) -> None:
    canary, kafkastore = stack.service("canary"), stack.service("kafkastore")
    comes_through(canary)
    kafkastore.stop()
    eventually(grows(canary, "topic"))
    lines = [line for line in canary.log.read_text().splitlines() if "canary_late" in line]
    assert len(lines) <= sum(late(canary).values())
    ids = [found[1] for line in lines if (found := re.search(r'"id": ?"([0-9a-f-]{36})"', line))]
    assert len(ids) == len(set(ids)) == len(lines), "each late canary has one line, with its id"
    kafkastore.restart()
    comes_through(canary)


def test_canary_is_late_at_the_first_stage_and_stays_ready_when_the_tracker_is_stopped(stack: LocalStack) -> None:
    canary, tracker = stack.service("canary"), stack.service("tracker")
    comes_through(canary)
    tracker.stop()
    eventually(grows(canary, "answered"))
    found = re.search(r"^push_canary_in_flight_events (\S+)$", canary.metrics(), re.MULTILINE)
    assert found is not None
    assert float(found[1]) <= 3 / 0.3 + 1
    assert canary.is_ready(), "a stopped tracker must not make the canary unready"
    tracker.restart()
    comes_through(canary)
