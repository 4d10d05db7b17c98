"""Ctrl-C at any moment of the demo leaves no process and no port open."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from deploy.develop.localstack.kafka import KafkaKind
from deploy.develop.localstack.ports import is_listening

ROOT = Path(__file__).parents[2]
DICE = random.Random(5)
# Times from the start of the interpreter and of the servers and services until the middle of the replay.
MOMENTS_S = [round(DICE.uniform(0.05, 12.0), 2) for _ in range(10)]


def family_of(pid: int) -> dict[psutil.Process, set[int]]:
    """Return all descendants of `pid`, each with the ports that it listens on."""
    found: dict[psutil.Process, set[int]] = {}
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                connections = process.net_connections("tcp")
                found[process] = {held.laddr.port for held in connections if held.status == psutil.CONN_LISTEN}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("moment_s", MOMENTS_S)
def test_demo_leaves_no_process_when_interrupted(moment_s: float, kafka_kind: KafkaKind) -> None:
    command = [sys.executable, "tasks.py", "demo", "--rate", "200", "--kafka", kafka_kind]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as demo:
        time.sleep(moment_s)
        family = family_of(demo.pid)
        os.killpg(demo.pid, signal.SIGINT)  # a terminal sends the signal to the whole foreground group as well
        assert demo.wait(timeout=30) != 0
    until = time.monotonic() + 3  # the kernel may still be ending the killed processes
    while time.monotonic() < until and any(process.is_running() for process in family):
        time.sleep(0.05)
    left = [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert not left
    assert not [port for ports in family.values() for port in ports if is_listening(port)]
