from pathlib import Path

import pytest

from deploy.containers import engine
from deploy.containers.engine import State
from deploy.errors import OperatorError


def fake_docker(folder: Path, monkeypatch: pytest.MonkeyPatch, **responses: str) -> None:
    """A `docker` with fixed output for each command and exit code 0. Other commands fail."""
    cases = "".join(f"  '{words.replace('_', ' ')}'*) echo '{response}' ;;\n" for words, response in responses.items())
    script = folder / "docker"
    script.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}  *) echo "it is away" >&2; exit 1 ;;\nesac\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def state(*, status: str = "running", health: str = "healthy", exit_code: int = 0, restarts: int = 0) -> State:
    return State(id="x", status=status, health=health, exit_code=exit_code, restarts=restarts)


def test_missing_docker_is_reported_with_its_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(OperatorError, match="Docker is not installed: https://"):
        engine.require_engine()


def test_engine_that_does_not_respond_is_reported_with_its_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_docker(tmp_path, monkeypatch)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    with pytest.raises(OperatorError, match=r"at unix:///nowhere\.sock does not respond: it is away\nStart it"):
        engine.require_engine()


def test_missing_compose_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_docker(tmp_path, monkeypatch, version="28.0")
    with pytest.raises(OperatorError, match="Compose plugin is missing: install docker-compose-plugin"):
        engine.require_engine()


def test_outdated_compose_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_docker(tmp_path, monkeypatch, version="28.0", compose_version="v2.19.1")
    with pytest.raises(OperatorError, match=r"Docker Compose v2\.19\.1 is too old: install 2\.20 or newer"):
        engine.require_engine()


@pytest.mark.parametrize("found", ["2.20.0", "v2.26.1-4", "5.0.0"])
def test_engine_and_compose_are_sufficient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, found: str) -> None:
    fake_docker(tmp_path, monkeypatch, version="28.0", compose_version=found)
    engine.require_engine()


def test_missing_dotenv_is_reported_with_the_task_that_writes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engine, "DOTENV", tmp_path / ".env")
    with pytest.raises(OperatorError, match=r"there is no \.env .*dotenv\.generate writes it"):
        engine.require_dotenv()


@pytest.mark.parametrize(
    ("found", "is_up", "fault"),
    [
        (state(), True, ""),
        (state(health="starting"), False, ""),
        (state(health="unhealthy"), False, "is unhealthy"),
        # It has just ended and will be restarted, so it may still become healthy.
        (state(status="restarting", health="unhealthy", exit_code=137, restarts=1), False, ""),
        (
            state(status="restarting", health="unhealthy", exit_code=78, restarts=3),
            False,
            "ends repeatedly (exit code 78, 3 restarts)",
        ),
        (state(restarts=9), True, ""),
        (state(status="exited", health=""), True, ""),
        (state(status="exited", health="", exit_code=1), False, "ended with exit code 1"),
        (state(status="running", health=""), False, ""),
        (state(status="created", health=""), False, ""),
    ],
)
def test_container_state_is_done_pending_or_failed(found: State, is_up: bool, fault: str) -> None:  # noqa: FBT001
    assert found.is_up == is_up
    assert found.error == fault
