"""The summary of .ci/run, with small programs in place of the suites."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "run"
SUITE = r"""#!/bin/sh
case "$*" in
  "tasks.py test --kafka apache") echo "0.50s call tests/a.py::test_quick"; echo "12.00s setup tests/a.py::test_slow" ;;
  *"--suite chaos") echo "100.00s call tests/b.py::test_slowest"; exit "$CHAOS_EXIT" ;;
  *"--suite system") echo "SKIPPED [9] no Docker engine can be started here: []" ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a copy of the script with a python3 that prints what suites print, and with all programs that it needs."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(SCRIPT, tmp_path / ".ci")
    (tmp_path / ".cache" / "bench").mkdir(parents=True)
    (tmp_path / ".cache" / "bench" / "tracker.brief.json").write_text("{}")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in re.findall(r"\[(\S+)\]=", SCRIPT.read_text()):
        (programs / name).symlink_to("/bin/true")
    (programs / "python3").unlink()
    (programs / "python3").write_text(SUITE)
    (programs / "python3").chmod(0o755)
    return tmp_path


def run(clone: Path, *, chaos_exit: int) -> tuple[int, list[str]]:
    environment = os.environ | {"PATH": f"{clone / 'bin'}:{os.environ['PATH']}", "CHAOS_EXIT": str(chaos_exit)}
    done = subprocess.run(
        [clone / ".ci" / "run"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout.splitlines()


def test_ci_prints_the_slowest_tests_and_the_seconds_of_each_stage(clone: Path) -> None:
    code, lines = run(clone, chaos_exit=0)
    assert code == 0
    begin = lines.index("== the ten slowest tests")
    assert [line.split()[2] for line in lines[begin + 1 : begin + 4]] == [
        "tests/b.py::test_slowest", "tests/a.py::test_slow", "tests/a.py::test_quick",
    ]  # fmt: skip
    stages = lines[lines.index("== the seconds of each stage") + 1 :]
    assert re.fullmatch(r" +\d+ s  passed: checks", stages[0])
    assert sum(" passed: " in line for line in stages) == 9
    assert re.fullmatch(r"== all passed in \d+ s", lines[-2])
    assert lines[-1] == "== SKIPPED, the containers: no Docker engine can be started here: []"


def test_ci_fails_and_names_the_stage_when_a_stage_fails(clone: Path) -> None:
    code, lines = run(clone, chaos_exit=1)
    assert code == 1
    assert any(re.fullmatch(r" +\d+ s  FAILED: random faults .*", line) for line in lines)
    assert re.fullmatch(r"== FAILED after \d+ s", lines[-1])
    assert not any("measuring tests" in line for line in lines)
