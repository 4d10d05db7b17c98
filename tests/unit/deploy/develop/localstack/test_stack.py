"""The stack as a separate program, which the tests end by each signal."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaKind
from deploy.develop.localstack.ports import is_listening

ROOT = Path(__file__).parents[5]
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
PROGRAM = """
import sys, time
from deploy.develop.localstack import LocalStack
print("begun", flush=True)
with LocalStack(kafka=sys.argv[1], say=lambda _: None) as stack:
    stack.start_service("tracker")
    stack.wait_until_ready()
    internal = stack.service("tracker").env["INTERNAL_PORT"]
    print("ready", stack.redis.port, stack.kafka.port, internal, stack.tracker_url.rpartition(":")[2], flush=True)
    time.sleep(60)
"""


class Program:
    """The program above. Its temporary folder identifies its processes."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.folder = folder
        env = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, kind],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip
        self.next_line()

    def next_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait(30)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def left_over(self) -> list[str]:
        """Return the remaining processes of this program, after a short wait for processes that the kernel is
        ending."""
        until = time.monotonic() + 3
        while found := list(self._processes()):
            if time.monotonic() > until:
                return found
            time.sleep(0.05)
        return []

    def _processes(self) -> Iterator[str]:
        mark = str(self.folder)
        for process in psutil.process_iter():
            try:
                belongs = mark in process.cwd() or process.environ().get("TMPDIR") == mark
                if belongs and process.status() != psutil.STATUS_ZOMBIE:
                    yield " ".join(process.cmdline())
            except psutil.Error:
                continue


@pytest.fixture
def program(kafka_kind: KafkaKind, tmp_path: Path) -> Iterator[Program]:
    started = Program(kafka_kind, tmp_path)
    yield started
    started.close()


@pytest.mark.parametrize("number", ENDING_SIGNALS, ids=lambda number: number.name)
def test_killed_stack_leaves_no_process_and_no_port(program: Program, number: signal.Signals) -> None:
    ports = [int(word) for word in program.next_line().split()[1:]]
    assert len(ports) == 4
    assert all(map(is_listening, ports))
    program.end(number)
    assert program.left_over() == []
    # A process is a zombie when its first thread has ended, but its ports close when its last thread ends.
    until = time.monotonic() + 3
    while any(map(is_listening, ports)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_listening, ports))
    if number != signal.SIGKILL:
        assert list(program.folder.iterdir()) == []


@pytest.mark.parametrize("number", ENDING_SIGNALS, ids=lambda number: number.name)
def test_stack_killed_during_its_start_leaves_no_process(program: Program, number: signal.Signals) -> None:
    time.sleep(random.random() * 1.5)  # any moment of the start is sufficient
    program.end(number)
    assert program.left_over() == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_signal_at_any_moment_leaves_a_process(tmp_path: Path, kafka_kind: KafkaKind) -> None:
    for attempt in range(40):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        program = Program(kafka_kind, folder)
        try:
            time.sleep(attempt * 0.1)
            number = ENDING_SIGNALS[attempt % len(ENDING_SIGNALS)]
            program.end(number)
            assert program.left_over() == [], f"{number.name} after {attempt * 0.1:.1f} s"
        finally:
            program.close()


def test_data_of_a_killed_stack_is_deleted_by_the_next_one(tmp_path: Path) -> None:
    killed = Program("tansu", tmp_path)
    killed.next_line()
    killed.end(signal.SIGKILL)
    killed.close()
    assert len(list(tmp_path.iterdir())) == 1
    following = Program("tansu", tmp_path)
    following.next_line()
    following.end(signal.SIGTERM)
    following.close()
    assert list(tmp_path.iterdir()) == []


def test_second_service_of_a_kind_gets_a_number_and_services_can_be_restarted(kafka_kind: KafkaKind) -> None:
    with LocalStack(kafka=kafka_kind) as stack:
        first = stack.start_service("tracker")
        second = stack.start_service("tracker")
        stack.wait_until_ready()
        assert [service.label for service in stack.services] == ["tracker", "tracker-2"]
        before = first.pid
        first.kill()
        assert not first.is_alive
        assert second.is_ready()
        first.restart()
        assert first.pid != before
        assert first.is_ready()
        assert "push_" in first.metrics()
        other = stack.start_redis("redis-2")
        assert other.responds()
        assert other.url != stack.redis_url
    assert not any(service.is_alive for service in (first, second))
    assert not other.process.is_alive
    assert {path.name for path in stack.log_directory.iterdir()} >= {"tracker.log", "tracker-2.log", "kafka.log"}
