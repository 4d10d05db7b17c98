import subprocess
from pathlib import Path

import pytest

from deploy.develop import checks, commits

_LONG = "Describe " + "a" * 64  # 73 characters


class Repository:
    """A scratch repository with one commit, the base."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit(f"{_LONG}; before the rule")
        self.base = self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            ["git", "-C", self.root, *identity, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def commit(self, subject: str) -> None:
        self.git("commit", "--quiet", "--allow-empty", "--no-verify", "--message", subject)

    def errors(self) -> list[str] | None:
        return commits.errors(self.root, self.base)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_subjects_pass_when_short_and_without_semicolon(repository: Repository) -> None:
    repository.commit("Read end offsets before counters")
    repository.commit(_LONG[:72])
    assert repository.errors() == []


def test_subject_fails_when_longer_than_72_characters(repository: Repository) -> None:
    repository.commit(_LONG)
    errors = repository.errors()
    assert errors
    assert f'"{_LONG}": 73 characters. A subject has at most 72.' in errors[0]


def test_subject_fails_when_it_contains_a_semicolon(repository: Repository) -> None:
    repository.commit("Read offsets; rename counters")
    errors = repository.errors()
    assert errors
    assert 'contains ";"' in errors[0]


def test_subject_of_a_merge_is_not_checked(repository: Repository) -> None:
    repository.git("checkout", "--quiet", "-b", "other")
    repository.commit("Rename counters")
    repository.git("checkout", "--quiet", "main")
    repository.git("merge", "--quiet", "--no-ff", "--no-verify", "--message", f"{_LONG}; and more", "other")
    assert repository.errors() == []


def test_subjects_are_skipped_when_the_clone_is_shallow(repository: Repository, tmp_path: Path) -> None:
    repository.commit(_LONG)
    clone = tmp_path / "clone"
    repository.git("clone", "--quiet", "--depth=1", f"file://{repository.root}", str(clone))
    assert commits.errors(clone, repository.base) is None


def test_subjects_are_skipped_without_a_repository(tmp_path: Path) -> None:
    assert commits.errors(tmp_path) is None


def test_check_reports_subjects(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.commit(_LONG)
    subject_errors = repository.errors()
    monkeypatch.setattr(checks, "CHECKS", {})
    monkeypatch.setattr("deploy.develop.locks.errors", list)
    monkeypatch.setattr("deploy.develop.commits.errors", lambda: subject_errors)
    assert checks.check() == 1
    assert "FAILED commit subjects" in capsys.readouterr().out
    monkeypatch.setattr("deploy.develop.commits.errors", lambda: None)
    assert checks.check() == 0
    assert "skipped commit subjects: the commit 433cf56 is not in this clone" in capsys.readouterr().out
