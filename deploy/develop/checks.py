"""The checks and the tests: what a developer, the commit hook and CI all run."""

import subprocess
import sys
import time
from pathlib import Path

from deploy.develop import derived, locks
from deploy.develop.localstack.kafka import KafkaChoice, choose_kafka
from deploy.errors import OperatorError
from deploy.paths import ROOT

_BIN = Path(sys.executable).parent

CHECKS = {
    "format": ("ruff", "format", "--check", "--quiet", "."),
    "lint": ("ruff", "check", "--quiet", "."),
    "types": ("mypy",),
    "imports": ("lint-imports",),
}


def check() -> int:
    """Run every check, edit nothing, report all; return the exit code."""
    failed = [name for name, command in CHECKS.items() if not _passes(name, command)]
    lock_faults = locks.errors()
    _tell("locks", passed=not lock_faults, output="\n".join(lock_faults), seconds=0)
    if lock_faults:
        failed.append("locks (`python3 tasks.py lock` writes them)")
    outdated = derived.errors()
    _tell("derived files", passed=not outdated, output="\n".join(outdated), seconds=0)
    if outdated:
        failed.append("derived files")
    print(f"failed: {', '.join(failed)}" if failed else "all checks passed")
    return 1 if failed else 0


def fix() -> int:
    """Let ruff repair what it can; return the exit code of what remains."""
    lint = subprocess.run([_BIN / "ruff", "check", "--fix", "."], cwd=ROOT, check=False).returncode
    return subprocess.run([_BIN / "ruff", "format", "."], cwd=ROOT, check=False).returncode or lint


def test(*, kafka: KafkaChoice, suite: str, keyword: str) -> int:
    """Run pytest; return its exit code.

    `suite` is default (what is quick), broker (of these, what talks to the broker), all, or a marker. The broker is
    settled here, before the first test, so that a first fetch of Apache Kafka counts against no test's time limit.
    """
    selections = {
        "default": ["-m", "not slow and not browser and not chaos and not endurance and not system"],
        "broker": ["-m", "broker and not slow and not browser and not chaos and not endurance and not system"],
        "slow": ["-m", "slow and not measures and not browser and not chaos and not endurance and not system"],
        "measures": ["-m", "measures"],
        "browser": ["-m", "browser"],
        "chaos": ["-m", "chaos"],
        "endurance": ["-m", "endurance"],
        "system": ["-m", "system"],
        "all": [],
    }
    if suite not in selections:
        raise OperatorError(f"--suite {suite}: it is one of {', '.join(selections)}")
    selection = selections[suite]
    kind = choose_kafka(kafka, print)
    narrowed = ["-k", keyword] if keyword else []
    command = [sys.executable, "-m", "pytest", f"--kafka={kind}", *selection, *narrowed]
    print(f"broker: {kind}", flush=True)
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def _passes(name: str, command: tuple[str, ...]) -> bool:
    begun = time.monotonic()
    done = subprocess.run([_BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    passed = done.returncode == 0
    _tell(name, passed=passed, output=done.stdout + done.stderr, seconds=time.monotonic() - begun)
    return passed


def _tell(name: str, *, passed: bool, output: str, seconds: float) -> None:
    print(f"{'ok    ' if passed else 'FAILED'} {name} ({seconds:.1f} s)", flush=True)
    if not passed:
        print("\n".join("    " + line for line in output.strip().splitlines()), flush=True)
