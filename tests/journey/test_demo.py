"""The demo in a terminal of 80 columns, as a user sees it, and the time until it shows something."""

import json
import os
import pty
import re
import select
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest
from redis import Redis

from deploy import catalog
from deploy.develop.localstack.kafka import KafkaKind
from deploy.develop.localstack.mongo import MongoKind
from services.backbone import names

ROOT = Path(__file__).parents[2]
RUNNING = ROOT / ".cache" / "running"
CONTROL_SEQUENCES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A demo in a terminal of 80 columns and 24 lines. Use it as a context manager."""

    def __init__(self, *flags: str) -> None:
        self.text = ""
        # `inside` stays open: after its last descriptor is closed, a read fails.
        self._terminal, self._inside = pty.openpty()
        environ = os.environ | {"COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
        command = [sys.executable, "tasks.py", "demo", *flags]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environ,
            stdin=self._inside,
            stdout=self._inside,
            stderr=self._inside,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._terminal)
        os.close(self._inside)

    def read_until(self, is_shown: Callable[[str], object], *, timeout_s: float = 90.0) -> None:
        """Read until the text that was printed so far fulfils the condition."""
        until_s = time.monotonic() + timeout_s
        while not is_shown(self.text):
            assert time.monotonic() < until_s, self.text[-3000:]
            if select.select([self._terminal], [], [], 0.2)[0]:
                self.text += CONTROL_SEQUENCES.sub("", os.read(self._terminal, 65_536).decode())

    def interrupt(self) -> int:
        """Send Ctrl-C and return the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.read_until(lambda _text: self.process.poll() is not None, timeout_s=30)
        return self.process.wait()


@pytest.mark.slow
def test_demo_shows_matches_as_they_appear(kafka_kind: KafkaKind, mongo_kind: MongoKind) -> None:
    with Terminal("--kafka", kafka_kind, "--mongo", mongo_kind) as demo:
        # The first matches are of objects at rest. Goran's comes when he has moved.
        demo.read_until(lambda text: "Goran" in text and "offr[create]" in text and "11 imported offers: " in text)
        assert demo.interrupt() == 130
    assert re.search(r"\d\d:\d\d:\d\d  Ada     Fresh bread, every morning +212 m +1 *\r", demo.text)
    assert re.search(r"\d\d:\d\d:\d\d  Goran   Waffles and a quiet corner +\d\d\d m +1 *\r", demo.text)
    assert re.search(r"^importers: +http://127\.0\.0\.1:\d+/offers\r", demo.text, re.MULTILINE)
    assert re.search(r"^offers and searches: +http://127\.0\.0\.1:\d+/store/offers\r", demo.text, re.MULTILINE)
    for problem in ("requests to storage failed", "not acknowledged", "has ended", "Traceback"):
        assert problem not in demo.text
    table = demo.text[demo.text.index("Ctrl-C stops everything") :]
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 80


@pytest.mark.slow
def test_demo_goes_on_without_storage_when_no_mongo_runs(tmp_path: Path) -> None:
    broken = tmp_path / "mongod"
    broken.write_text("#!/bin/sh\nexit 127\n")
    broken.chmod(0o755)
    no_index = {"MONGOD": str(broken), "PUSH_CACHE": str(tmp_path / "cache"), "PIP_NO_INDEX": "1"}
    log = ROOT / "tests" / "examples" / "access.log"
    # Apache Kafka would be downloaded into the empty cache.
    command = [sys.executable, "tasks.py", "demo", "--once", "--log", str(log), "--json", "--kafka", "tansu"]
    environ = os.environ | no_index
    finished = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=100, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "No offers and searches, because storage needs MongoDB." in " ".join(finished.stderr.split())
    result = json.loads(finished.stdout)
    assert (result["sent"], result["lost"], result["matches"]) == (300, 0, None)


def seconds_to_first_count(*flags: str) -> float:
    """Return the time from the command to the first event that every consumer has counted."""
    before = set(RUNNING.glob("*.json"))
    begun_s = time.monotonic()
    command = [sys.executable, "tasks.py", "demo", *flags]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as demo:
        try:
            while not (announced := set(RUNNING.glob("*.json")) - before):
                assert demo.poll() is None
                time.sleep(0.02)
            (file,) = announced
            with Redis.from_url(json.loads(file.read_text())["endpoints"][2]) as redis:
                while not all(redis.hget(names.progress_key(name), "events") for name in catalog.load().consumers):
                    time.sleep(0.02)
            return time.monotonic() - begun_s
        finally:
            os.killpg(demo.pid, signal.SIGINT)


@pytest.mark.endurance
@pytest.mark.timeout(400)
def test_storage_does_not_delay_the_first_counted_event(kafka_kind: KafkaKind, mongo_kind: MongoKind) -> None:
    measured: dict[str, list[float]] = {"none": [], mongo_kind: []}
    for _ in range(5):
        for mongo, seconds in measured.items():
            seconds.append(seconds_to_first_count("--kafka", kafka_kind, "--mongo", mongo))
    medians = {mongo: round(statistics.median(seconds), 2) for mongo, seconds in measured.items()}
    print("seconds to the first counted event, median of 5:", medians)  # noqa: T201 - the test reports its measurement
    assert medians[mongo_kind] < 1.25 * medians["none"] + 0.5, measured
