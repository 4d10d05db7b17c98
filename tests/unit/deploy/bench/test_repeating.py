import json
import time

import pytest

from deploy.bench.repeating import repeat


def test_calls_are_repeated_for_the_time_after_one_that_is_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    calls = []

    def call() -> None:
        calls.append(0)
        time.sleep(0.01)

    repeat(call, seconds=0.05)
    found = json.loads(capsys.readouterr().out)
    assert len(found["latencies_s"]) == len(calls) - 1 > 0
    assert min(found["latencies_s"]) >= 0.01
    assert found["seconds"] == pytest.approx(sum(found["latencies_s"]))
    assert found["seconds"] >= 0.05 > found["cpu_s"] >= 0
    assert found["rss_mb"] > 1


def test_a_call_that_is_longer_than_the_time_is_measured_once(capsys: pytest.CaptureFixture[str]) -> None:
    repeat(lambda: time.sleep(0.02), seconds=0.001)
    assert len(json.loads(capsys.readouterr().out)["latencies_s"]) == 1
