"""The checks and the tests. Developers, the commit hook and CI run them."""

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

from deploy.develop import commits, derived, locks
from deploy.develop.localstack.kafka import KafkaChoice, choose_kafka
from deploy.develop.localstack.mongo import MongoChoice
from deploy.errors import OperatorError
from deploy.paths import ROOT

_BIN = Path(sys.executable).parent

# Suites whose tests mostly wait for processes and time limits, and their workers for each core. A browser needs a core.
# The other suites measure, or need the whole machine.
_WORKERS_PER_CORE = {"default": 2, "broker": 2, "slow": 2, "browser": 1}
_MOST_WORKERS = 8  # each worker may start two brokers of 350 MB each

CHECKS = {
    "format": ("ruff", "format", "--check", "--quiet", "."),
    "lint": ("ruff", "check", "--quiet", "."),
    "types": ("mypy",),
    "imports": ("lint-imports",),
}


def check() -> int:
    """Run all checks and report their results. Edit nothing. Return the exit code."""
    failed = [name for name, command in CHECKS.items() if not _passes(name, command)]
    if not _subjects_pass():
        failed.append("commit subjects (`git rebase --interactive` rewords them)")
    lock_errors = locks.errors()
    _report("locks", passed=not lock_errors, output="\n".join(lock_errors), seconds=0)
    if lock_errors:
        failed.append("locks (`python3 tasks.py lock` writes them)")
    outdated = derived.errors()
    _report("derived files", passed=not outdated, output="\n".join(outdated), seconds=0)
    if outdated:
        failed.append("derived files")
    print(f"failed: {', '.join(failed)}" if failed else "all checks passed")
    return 1 if failed else 0


def fix() -> int:
    """Run the fixes of ruff. Return a nonzero exit code if errors remain."""
    lint = subprocess.run([_BIN / "ruff", "check", "--fix", "."], cwd=ROOT, check=False).returncode
    return subprocess.run([_BIN / "ruff", "format", "."], cwd=ROOT, check=False).returncode or lint


def test(*, kafka: KafkaChoice, suite: str, keyword: str, service: str, mongo: MongoChoice) -> int:
    """Run pytest. Return its exit code.

    `suite` is default (the quick tests), broker (the quick tests that use the broker), all, or a marker.
    `service` selects the tests of one service. The broker is chosen before the first test, because downloading Apache
    Kafka would exceed the time limit of a test. The first test that needs MongoDB chooses it.
    """
    selections = {
        "default": ["-m", "not slow and not browser and not chaos and not endurance and not system"],
        "broker": ["-m", "broker and not slow and not browser and not chaos and not endurance and not system"],
        "slow": ["-m", "slow and not measures and not browser and not chaos and not endurance and not system"],
        "measures": ["-m", "measures and not endurance"],
        "browser": ["-m", "browser and not measures"],
        "chaos": ["-m", "chaos"],
        "endurance": ["-m", "endurance"],
        "system": ["-m", "system and not endurance"],
        "all": [],
    }
    if suite not in selections:
        raise OperatorError(f"--suite {suite}: unknown suite. Use one of {', '.join(selections)}")
    if importlib.util.find_spec("pytest") is None:
        raise ModuleNotFoundError("pytest", name="pytest")
    paths = _tests_of(service) if service else []
    kind = choose_kafka(kafka, print)
    # A few tests, selected by name, finish earlier without workers: each worker first imports all tests in 5 s.
    workers = [] if keyword else _workers(suite)
    narrowed = ["-k", keyword] if keyword else []
    options = [f"--kafka={kind}", f"--mongo={mongo}", "--durations=10", *workers, *selections[suite], *narrowed]
    print(f"broker: {kind}", flush=True)
    return subprocess.run([sys.executable, "-m", "pytest", *options, *paths], cwd=ROOT, check=False).returncode


def _workers(suite: str) -> list[str]:
    """Return pytest's options for parallel workers. Each worker runs whole files, in the order of tests/conftest.py."""
    if suite not in _WORKERS_PER_CORE:
        return []
    number = min(_MOST_WORKERS, _WORKERS_PER_CORE[suite] * (os.cpu_count() or 1))
    return [f"--numprocesses={number}", "--dist=loadfile", "--no-loadscope-reorder"]


def _tests_of(service: str) -> list[str]:
    """Return the tests of a service: its folders in tests/unit and tests/contract, and its files in tests/contract.

    Raises OperatorError if the service has no tests.
    """
    tests = ROOT / "tests"
    services = sorted(
        folder.name for folder in (tests / "unit").iterdir() if (ROOT / "services" / folder.name).is_dir()
    )
    if service not in services:
        raise OperatorError(f"--service {service}: unknown service. Use one of {', '.join(services)}")
    folders = [folder for suite in ("unit", "contract") if (folder := tests / suite / service).is_dir()]
    files = sorted((tests / "contract").glob(f"test_{service}*.py"))
    return [str(path.relative_to(ROOT)) for path in (*folders, *files)]


def _passes(name: str, command: tuple[str, ...]) -> bool:
    begun = time.monotonic()
    done = subprocess.run([_BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    passed = done.returncode == 0
    _report(name, passed=passed, output=done.stdout + done.stderr, seconds=time.monotonic() - begun)
    return passed


def _subjects_pass() -> bool:
    subject_errors = commits.errors()
    if subject_errors is None:
        print(f"skipped commit subjects: the commit {commits.BASE[:7]} is not in this clone", flush=True)
        return True
    _report("commit subjects", passed=not subject_errors, output="\n".join(subject_errors), seconds=0)
    return not subject_errors


def _report(name: str, *, passed: bool, output: str, seconds: float) -> None:
    print(f"{'ok    ' if passed else 'FAILED'} {name} ({seconds:.1f} s)", flush=True)
    if not passed:
        print("\n".join("    " + line for line in output.strip().splitlines()), flush=True)
