from pathlib import Path

import pytest

from deploy.develop import checks
from deploy.errors import OperatorError
from deploy.paths import ROOT


def test_check_runs_all_checks_and_prints_each_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checks, "CHECKS", {"no": ("ruff", "no-such-command"), "yes": ("ruff", "--version")})
    monkeypatch.setattr("deploy.develop.locks.errors", lambda: ["dev.txt is missing"])
    assert checks.check() == 1
    shown = capsys.readouterr().out
    assert "FAILED no" in shown
    assert "unrecognized subcommand" in shown
    assert "ok     yes" in shown
    assert "dev.txt is missing" in shown
    assert shown.splitlines()[-1] == "failed: no, locks (`python3 tasks.py lock` writes them)"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the recorded commands. None is run; each has the exit code 5."""
    commands: list[list[str]] = []

    class Done:
        returncode = 5

    def record(command: list[str], *, cwd: Path, check: bool) -> Done:
        assert cwd == ROOT
        assert not check
        commands.append(command)
        return Done()

    monkeypatch.setattr("subprocess.run", record)
    return commands


def test_tests_fail_before_they_run_when_the_broker_cannot_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(OperatorError, match="Java 17 or newer is not installed"):
        checks.test(kafka="apache", suite="default", keyword="", service="", mongo="auto")


def test_unknown_suite_is_refused_before_anything_starts() -> None:
    known = "default, broker, slow, measures, browser, chaos, endurance, system, all"
    with pytest.raises(OperatorError, match=rf"--suite nope: unknown suite. Use one of {known}"):
        checks.test(kafka="tansu", suite="nope", keyword="", service="", mongo="auto")


@pytest.mark.parametrize(
    ("suite", "expected"),
    [
        ("default", ["-m", "not slow and not browser and not chaos and not endurance and not system"]),
        ("slow", ["-m", "slow and not measures and not browser and not chaos and not endurance and not system"]),
        ("measures", ["-m", "measures and not endurance"]),
        ("chaos", ["-m", "chaos"]),
        ("browser", ["-m", "browser and not measures"]),
        ("system", ["-m", "system and not endurance"]),
        ("all", []),
    ],
)
def test_suite_selects_by_markers(ran: list[list[str]], suite: str, expected: list[str]) -> None:
    assert checks.test(kafka="tansu", suite=suite, keyword="ledger", service="", mongo="auto") == 5
    assert ran[0][2:] == ["pytest", "--kafka=tansu", "--mongo=auto", "--durations=10", *expected, "-k", "ledger"]


@pytest.mark.parametrize(
    ("suite", "keyword", "parallel"),
    [(suite, "", True) for suite in ("default", "broker", "slow", "browser")]
    + [("default", "ledger", False)]
    + [(suite, "", False) for suite in ("measures", "chaos", "system", "endurance", "all")],
)
def test_only_suites_that_mostly_wait_run_in_parallel(
    ran: list[list[str]], suite: str, keyword: str, *, parallel: bool
) -> None:
    checks.test(kafka="tansu", suite=suite, keyword=keyword, service="", mongo="auto")
    assert ("--dist=loadfile" in ran[0]) is parallel


def test_tests_of_a_service_are_its_folders_and_the_files_with_its_name(ran: list[list[str]]) -> None:
    for service in ("kafidx", "tracker"):
        checks.test(kafka="tansu", suite="default", keyword="", service=service, mongo="auto")
    assert ran[0][-2:] == ["tests/unit/kafidx", "tests/contract/kafidx"]
    paths = [word for word in ran[1] if word.startswith("tests/")]
    assert paths[0] == "tests/unit/tracker"
    assert "tests/contract/test_tracker_http.py" in paths
    assert all(path.startswith("tests/contract/test_tracker_") for path in paths[1:])


def test_service_name_selects_tests() -> None:
    for entry in (ROOT / "services").glob("*/__main__.py"):
        assert checks._tests_of(entry.parent.name)


def test_unknown_service_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(
        OperatorError,
        match=r"--service nope: unknown service. Use one of backbone, canary, consumers, imageserver, kafidx",
    ):
        checks.test(kafka="tansu", suite="default", keyword="", service="nope", mongo="auto")
