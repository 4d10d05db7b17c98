from pathlib import Path

import pytest

from deploy.develop.localstack import scratch
from deploy.develop.localstack.scratch import Scratch


def test_logs_of_a_running_stack_stay_when_many_others_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_LOGS", tmp_path)
    with monkeypatch.context() as earlier:
        earlier.setattr("time.strftime", lambda _format: "20260101-000000")
        running = Scratch()
    (running.logs / "kafka.log").touch()
    for _ in range(scratch._LOGS_KEPT + 5):
        Scratch().close()
    assert (running.logs / "kafka.log").exists()
    running.close()
    assert [path.name for path in running.logs.iterdir()] == ["kafka.log"]
    assert len(list(tmp_path.iterdir())) <= scratch._LOGS_KEPT + 1
