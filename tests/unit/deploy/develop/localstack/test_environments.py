import subprocess
import sys
from pathlib import Path

import pytest

from deploy.develop import locks
from deploy.develop.localstack.environments import python_of
from deploy.errors import OperatorError

ROOT = Path(__file__).parents[5]
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/__main__.py"))


def imports(python: str, module: str) -> str:
    """Return the error of the import of a module; empty when it succeeds."""
    run = subprocess.run([python, "-c", f"import {module}"], cwd=ROOT, capture_output=True, text=True, check=False)
    return run.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_service_environment_contains_only_the_packages_of_its_lock(service: str) -> None:
    python = python_of(service)
    assert imports(python, f"services.{service}.__main__") == ""
    assert imports(sys.executable, "rich") == ""
    assert "No module named 'rich'" in imports(python, "rich")
    assert "No module named 'pip'" in imports(python, "pip")


def test_environment_is_created_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    python_of.cache_clear()
    made = Path(python_of("kafkastore"))
    python_of.cache_clear()
    monkeypatch.setattr("venv.create", lambda *_args, **_options: pytest.fail("made again"))
    assert Path(python_of("kafkastore")) == made
    assert [path.name for path in (tmp_path / "services").iterdir()] == [made.parents[1].name]
    python_of.cache_clear()


def test_lock_with_a_package_that_is_not_installed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LOCKS", tmp_path)
    (tmp_path / "late.txt").write_text(
        "redis==7.0.0 \\\n    --hash=sha256:00\n"
        "only-elsewhere==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:00\n"
        "not-there-yet==1.0 \\\n    --hash=sha256:00\n"
    )
    with pytest.raises(OperatorError, match=r"late\.txt contains not-there-yet, which is not installed: delete \.venv"):
        python_of("late")
