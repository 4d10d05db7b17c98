"""A fresh clone on a machine with only Python: the commands of the README, from the first run on."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.develop.localstack.kafka import KafkaKind

ROOT = Path(__file__).parents[2]
SHARED_LOG = ROOT.parent / "shared" / "data" / "access.log.gz"
SAMPLE_LOG = ROOT / "tests" / "examples" / "access.log"
PYTHON = Path(sys.base_prefix) / "bin" / "python3"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a clone with the committed files only."""
    folder = tmp_path_factory.mktemp("fresh") / "push"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    yield folder
    shutil.rmtree(folder)


def run(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("VIRTUAL_ENV", "PYTHON"))}
    command = [str(PYTHON), "tasks.py", *arguments]
    finished = subprocess.run(command, cwd=clone, env=environ, capture_output=True, text=True, timeout=500, check=False)
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-2000:]
    return finished


def changed_files(clone: Path) -> str:
    status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
    return status.stdout


def test_demo_replays_a_log(clone: Path, kafka_kind: KafkaKind) -> None:
    log = SHARED_LOG if SHARED_LOG.exists() else SAMPLE_LOG
    lines = 10_000 if log == SHARED_LOG else 300
    finished = run(clone, "demo", "--once", "--log", str(log), "--json", "--kafka", kafka_kind)
    outcome = json.loads(finished.stdout.splitlines()[-1])
    del outcome["seconds"]
    assert outcome == {
        "sent": lines, "accepted": lines, "produced": lines, "dead": 0, "waiting": 0, "counted": lines, "lost": 0,
        "offers": 12, "searches": 10, "matches": 14, "messages": 28, "scene_events": 48, "imported": 11,
    }  # fmt: skip


def test_list_contains_every_task(clone: Path) -> None:
    listed = run(clone, "--list").stdout
    for task in ("check", "demo", "dotenv.generate", "fix", "geoip.fetch", "lock", "send", "status", "test"):
        assert f"  {task} " in listed


def test_dotenv_is_generated_once(clone: Path) -> None:
    run(clone, "dotenv.generate", "--yes")
    first = (clone / ".env").read_text()
    run(clone, "dotenv.generate", "--yes")
    assert (clone / ".env").read_text() == first


def test_committed_files_are_formatted_and_locked(clone: Path) -> None:
    run(clone, "fix")
    run(clone, "lock")
    assert changed_files(clone) == ""


def test_tests_are_selected_by_keyword(clone: Path) -> None:
    assert " passed" in run(clone, "test", "--kafka", "tansu", "-k", "dotenv").stdout
