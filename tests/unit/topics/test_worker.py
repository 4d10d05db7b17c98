"""The job as a process, on a real broker."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from deploy.develop.localstack.kafka import KafkaBroker, KafkaKind
from deploy.develop.localstack.ports import free_port
from services.backbone.kafka import topic_differences
from services.topics.settings import Settings

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "services.topics"]


def environ(bootstrap_servers: str, **settings: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers, "LOG_FORMAT": "json", **settings}


def run(bootstrap_servers: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        COMMAND, cwd=ROOT, env=environ(bootstrap_servers, **settings), capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip


def lines(finished: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {line["event"]: line for line in map(json.loads, finished.stderr.splitlines())}


@pytest.fixture
def own_broker(kafka_kind: KafkaKind, tmp_path: Path) -> Iterator[KafkaBroker]:
    """A broker without topics, not yet started."""
    broker = KafkaBroker(kafka_kind, data=tmp_path / "data", log=tmp_path / "kafka.log")
    yield broker
    broker.process.stop()


async def test_topics_are_created_once_and_then_unchanged(own_broker: KafkaBroker) -> None:
    own_broker.start()
    own_broker.wait_ready()
    first = run(own_broker.bootstrap_servers, TOPICS_PARTITIONS="6")
    assert first.returncode == 0, first.stderr
    assert lines(first)["topics_ready"]["created"] == ["events", "events.dead"]
    admin = AIOKafkaAdminClient(bootstrap_servers=own_broker.bootstrap_servers)
    await admin.start()
    described = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
    await admin.close()
    assert described["events"] == 6
    assert described["events.dead"] == 1
    if own_broker.kind != "apache":
        pytest.skip("this broker does not return the settings of a topic")
    again = run(own_broker.bootstrap_servers, TOPICS_PARTITIONS="6")
    assert again.returncode == 0
    assert lines(again)["topics_ready"]["created"] == []
    assert "topics_differ" not in lines(again)


async def test_existing_topic_that_differs_is_logged_in_one_warning_and_unchanged(own_broker: KafkaBroker) -> None:
    if own_broker.kind != "apache":
        pytest.skip("this broker does not return the settings of a topic")
    own_broker.start()
    own_broker.wait_ready()
    assert run(own_broker.bootstrap_servers, TOPICS_PARTITIONS="2").returncode == 0
    other = run(own_broker.bootstrap_servers, TOPICS_PARTITIONS="3", TOPICS_RETENTION_S="90", TOPICS_REPLICATION="3")
    assert other.returncode == 0
    warnings = [line for line in other.stderr.splitlines() if '"level": "warning"' in line or '"warning"' in line]
    assert len(warnings) == 1
    assert lines(other)["topics_differ"]["differences"] == [
        "events: partitions is 2, expected 3",
        "events: replication is 1, expected 3",
        "events: min.insync.replicas is 1, expected 2",
        "events: retention.ms is 604800000, expected 90000",
        "events.dead: replication is 1, expected 3",
        "events.dead: min.insync.replicas is 1, expected 2",
    ]
    wanted = Settings.from_env({"TOPICS_PARTITIONS": "2"}).plans
    assert await topic_differences(own_broker.bootstrap_servers, wanted) == []


def test_job_waits_for_a_broker_that_starts_later(own_broker: KafkaBroker) -> None:
    with subprocess.Popen(
        COMMAND, cwd=ROOT, env=environ(own_broker.bootstrap_servers), stderr=subprocess.PIPE, text=True
    ) as job:
        assert job.stderr is not None
        assert "waiting_for_kafka" in job.stderr.readline()
        own_broker.start()
        printed = job.stderr.read()
        assert job.wait(60) == 0, printed
    assert "topics_ready" in printed


def test_job_exits_with_the_reason_when_no_broker_responds() -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    finished = run(nowhere, TOPICS_WAIT_S="1.5")
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1].startswith(f"no topics after 1.5 s at {nowhere}: ")


def test_job_exits_with_the_reason_when_replicas_exceed_brokers(own_broker: KafkaBroker) -> None:
    if own_broker.kind != "apache":
        pytest.skip("this broker accepts any number of replicas")
    own_broker.start()
    own_broker.wait_ready()
    finished = run(own_broker.bootstrap_servers, TOPICS_REPLICATION="3", TOPICS_WAIT_S="1")
    assert finished.returncode == 1
    assert "InvalidReplicationFactor" in finished.stderr.splitlines()[-1]


def test_job_stopped_while_waiting_exits_with_1() -> None:
    with subprocess.Popen(
        COMMAND, cwd=ROOT, env=environ(f"127.0.0.1:{free_port()}"), stderr=subprocess.PIPE, text=True
    ) as job:
        assert job.stderr is not None
        assert "waiting_for_kafka" in job.stderr.readline()
        begun = time.monotonic()
        job.send_signal(signal.SIGTERM)
        assert job.wait(10) == 1
        assert time.monotonic() - begun < 5
        assert "stopped before the topics were created" in job.stderr.read()


def test_job_stops_in_time_when_brokers_hang() -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        where = f"127.0.0.1:{hanging.getsockname()[1]}"
        finished = run(where, TOPICS_WAIT_S="1.5")
        assert finished.returncode == 1
        assert finished.stderr.splitlines()[-1] == f"no topics after 1.5 s at {where}: no response"
        hanging.setblocking(True)  # noqa: FBT003 - as the socket module has it
        hanging.accept()[0].close()  # the connection of the first job
        with subprocess.Popen(COMMAND, cwd=ROOT, env=environ(where), stderr=subprocess.PIPE, text=True) as job:
            assert job.stderr is not None
            connection, _ = hanging.accept()
            with connection:
                begun = time.monotonic()
                job.send_signal(signal.SIGTERM)
                assert job.wait(10) == 1
                assert time.monotonic() - begun < 5  # the time that compose allows
            assert "stopped before the topics were created" in job.stderr.read()


def test_invalid_settings_exit_before_any_request() -> None:
    finished = run("nowhere", TOPICS_PARTITIONS="0")
    assert finished.returncode == 78
    assert "TOPICS_PARTITIONS" in finished.stderr
    assert "KAFKA_BOOTSTRAP_SERVERS" in finished.stderr
