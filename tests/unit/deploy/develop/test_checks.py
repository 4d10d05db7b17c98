from pathlib import Path

import pytest

from deploy.develop import checks
from deploy.errors import OperatorError
from deploy.paths import ROOT


def test_all_checks_run_and_each_failure_is_shown(
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


def test_tests_on_a_broker_that_cannot_run_say_so_and_run_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(OperatorError, match="Java 17 or newer is not installed"):
        checks.test(kafka="apache", suite="default", keyword="")


def test_an_unknown_suite_is_told_before_anything_starts() -> None:
    known = "default, broker, slow, measures, browser, chaos, endurance, system, all"
    with pytest.raises(OperatorError, match=f"--suite nope: it is one of {known}"):
        checks.test(kafka="tansu", suite="nope", keyword="")


@pytest.mark.parametrize(
    ("suite", "expected"),
    [
        ("default", ["-m", "not slow and not browser and not chaos and not endurance and not system"]),
        ("slow", ["-m", "slow and not measures and not browser and not chaos and not endurance and not system"]),
        ("measures", ["-m", "measures"]),
        ("chaos", ["-m", "chaos"]),
        ("browser", ["-m", "browser"]),
        ("system", ["-m", "system"]),
        ("all", []),
    ],
)
def test_a_suite_is_a_choice_of_markers(monkeypatch: pytest.MonkeyPatch, suite: str, expected: list[str]) -> None:
    ran: list[list[str]] = []

    class Done:
        returncode = 5

    def record(command: list[str], *, cwd: Path, check: bool) -> Done:
        assert cwd == ROOT
        assert not check
        ran.append(command)
        return Done()

    monkeypatch.setattr("subprocess.run", record)
    assert checks.test(kafka="tansu", suite=suite, keyword="books") == 5
    assert ran[0][2:] == ["pytest", "--kafka=tansu", *expected, "-k", "books"]
