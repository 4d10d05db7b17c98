from pathlib import Path

import pytest

from deploy.containers import engine, stack
from deploy.errors import OperatorError


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "require_engine", lambda: None)
    monkeypatch.setattr(engine, "states", dict)


def test_unknown_profile_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(OperatorError, match=r"--profile nope: unknown profile. Use one of flower, load, nfs, "):
        stack.spin_up(build=False, profiles=["nope"])


def test_missing_dotenv_is_reported_before_anything_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(engine, "require_engine", lambda: None)
    monkeypatch.setattr(engine, "DOTENV", tmp_path / ".env")
    with pytest.raises(OperatorError, match=r"dotenv\.generate writes it"):
        stack.spin_up(build=True, profiles=[])


@pytest.mark.usefixtures("nothing_runs")
def test_logs_and_addresses_are_rejected_when_no_container_runs() -> None:
    with pytest.raises(OperatorError, match=r"no container runs.*docker\.compose\.spin-up"):
        stack.show_logs("", follow=False, since="")
    with pytest.raises(OperatorError, match=r"no container runs\. Start them with docker\.compose\.spin-up"):
        stack.open_urls(only_print=True)


def test_run_without_a_task_is_rejected() -> None:
    with pytest.raises(OperatorError, match="--command is missing"):
        stack.run_inside("")


@pytest.mark.parametrize(("reply", "removed"), [("y", True), ("yes", True), ("", False), ("no", False)])
def test_data_is_removed_only_when_the_reply_is_yes(
    monkeypatch: pytest.MonkeyPatch,
    reply: str,
    removed: bool,  # noqa: FBT001
) -> None:
    ran: list[list[str]] = []
    there = ["volume push_kafka", "volume push_tracker-redis"]
    monkeypatch.setattr(engine, "require_engine", lambda: None)
    monkeypatch.setattr(engine, "left_over", lambda *, volumes: [] if ran or not volumes else there)
    monkeypatch.setattr(engine, "run", lambda command, **_: ran.append(command))

    def ask(question: str) -> str:
        assert "2 volumes" in question
        return reply

    if removed:
        stack.spin_down(keep_data=False, yes=False, ask=ask)
        assert "--volumes" in ran[0]
    else:
        with pytest.raises(OperatorError, match="nothing was removed"):
            stack.spin_down(keep_data=False, yes=False, ask=ask)
        assert ran == []


def test_down_reports_objects_that_were_not_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "require_engine", lambda: None)
    monkeypatch.setattr(engine, "run", lambda *_, **__: None)
    monkeypatch.setattr(engine, "left_over", lambda *, volumes: ["network push_app"] if volumes else [])
    with pytest.raises(OperatorError, match="not removed: network push_app"):
        stack.spin_down(keep_data=False, yes=True)


def test_kept_data_is_not_removed_and_needs_no_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(engine, "require_engine", lambda: None)
    monkeypatch.setattr(engine, "run", lambda command, **_: ran.append(command))
    monkeypatch.setattr(engine, "left_over", lambda *, volumes: ["volume push_kafka"] if volumes else [])
    stack.spin_down(keep_data=True, yes=False)
    assert "--volumes" not in ran[0]


@pytest.mark.parametrize(("used", "reported"), [(False, True), (True, False)])
def test_down_suggests_a_restart_when_the_engine_keeps_an_unused_network(
    monkeypatch: pytest.MonkeyPatch,
    used: bool,  # noqa: FBT001
    reported: bool,  # noqa: FBT001
) -> None:
    def fail(_command: list[str], *, failed: str) -> None:
        raise OperatorError(failed)

    monkeypatch.setattr(engine, "require_engine", lambda: None)
    monkeypatch.setattr(engine, "run", fail)
    monkeypatch.setattr(engine, "left_over", lambda **_: ["container push_x-1", "network push_app"])
    monkeypatch.setattr(engine, "held_by_nobody", lambda network: network == "push_app" and not used)
    with pytest.raises(OperatorError, match="the removal failed") as raised:
        stack.spin_down(keep_data=True, yes=False)
    assert ("No container uses push_app, but the engine counts endpoints" in str(raised.value)) == reported
