from pathlib import Path

import pytest

from deploy.develop import locks

PIN = "{}=={} \\\n    --hash=sha256:00\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one common dependency, one extra, and locks that agree."""
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["Common>=1"]\n[project.optional-dependencies]\nweb = ["web_lib[fast]>=2"]\n'
        '[dependency-groups]\ndev = ["tool"]\n'
    )
    (tmp_path / "dev.txt").write_text(PIN.format("common", 1) + PIN.format("web-lib[fast]", 2) + PIN.format("tool", 3))
    (tmp_path / "web.txt").write_text(PIN.format("common", 1) + PIN.format("web-lib[fast]", 2))
    monkeypatch.setattr(locks, "PYPROJECT", tmp_path / "pyproject.toml")
    monkeypatch.setattr(locks, "LOCKS", tmp_path)
    return tmp_path


def test_locks_of_this_repository_match_pyproject_and_name_no_host() -> None:
    assert locks.errors() == []


@pytest.mark.usefixtures("project")
def test_consistent_locks_have_no_errors() -> None:
    assert locks.errors() == []


def test_dependency_without_a_pin_is_an_error(project: Path) -> None:
    (project / "web.txt").write_text(PIN.format("common", 1))
    assert locks.errors() == ["web.txt: web-lib is not locked"]


def test_extra_with_another_version_than_dev_is_an_error(project: Path) -> None:
    (project / "web.txt").write_text(PIN.format("common", 1) + PIN.format("web-lib[fast]", 9))
    assert locks.errors() == ["web.txt: web-lib is not the version of dev.txt"]


def test_missing_and_orphaned_locks_are_errors(project: Path) -> None:
    (project / "web.txt").rename(project / "gone.txt")
    assert locks.errors() == ["web.txt is missing", "gone.txt belongs to no extra"]


@pytest.mark.parametrize("line", ["--index-url https://registry.example/simple", "--find-links wheels", "a @ http://x"])
def test_registry_in_a_lock_is_an_error(project: Path, line: str) -> None:
    with (project / "web.txt").open("a") as lock:
        lock.write(line + "\n")
    assert locks.errors() == ["web.txt names a registry or a folder of the machine that wrote it"]
