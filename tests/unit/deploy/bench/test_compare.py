import json
from pathlib import Path

import pytest

from deploy.bench.compare import compare, keep
from deploy.bench.results import Round, summed_up
from deploy.errors import OperatorError


@pytest.fixture
def latest(tmp_path: Path) -> Path:
    return tmp_path / "latest"


def keep_ratio(folder: Path, ratio: float, *, name: str = "tracker", brief: bool = False, load: str = "") -> None:
    result = summed_up(name, [Round(rate=100.0 * ratio)], {"nginx": [Round(rate=100.0)]})
    keep(result, brief=brief, load=load, folder=folder)


def test_ratio_that_fell_by_more_than_a_fifth_is_a_regression(
    latest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = tmp_path / "recorded.json"
    keep_ratio(latest, 0.40)
    assert compare(record=True, latest=latest, recorded=recorded) == 0
    keep_ratio(latest, 0.33)
    assert compare(record=False, latest=latest, recorded=recorded) == 0
    keep_ratio(latest, 0.31)
    assert compare(record=False, latest=latest, recorded=recorded) == 1
    assert "REGRESSION: tracker / nginx: 0.310, recorded 0.400" in capsys.readouterr().out


def test_brief_results_are_neither_compared_nor_recorded(latest: Path, tmp_path: Path) -> None:
    keep_ratio(latest, 0.1, brief=True)
    with pytest.raises(OperatorError, match="--brief"):
        compare(record=True, latest=latest, recorded=tmp_path / "recorded.json")
    assert json.loads((latest / "tracker.brief.json").read_text())["brief"] is True


def test_brief_run_keeps_the_last_full_result(latest: Path, tmp_path: Path) -> None:
    keep_ratio(latest, 0.4)
    keep_ratio(latest, 0.1, brief=True)
    assert compare(record=True, latest=latest, recorded=tmp_path / "recorded.json") == 0


def test_recording_one_bench_keeps_the_others_and_reports_uncompared_ones(
    latest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = tmp_path / "recorded.json"
    keep_ratio(latest, 1.0, name="batch")
    compare(record=True, latest=latest, recorded=recorded)
    (latest / "batch.json").unlink()
    keep_ratio(latest, 0.4)
    compare(record=True, latest=latest, recorded=recorded)
    assert set(json.loads(recorded.read_text())) == {"batch", "tracker"}
    keep_ratio(latest, 0.4, name="kafidx")
    assert compare(record=False, latest=latest, recorded=recorded) == 0
    output = capsys.readouterr().out
    assert "not compared: batch: it has not run here" in output
    assert "not compared: kafidx: not recorded yet" in output


def test_results_of_different_loads_are_not_compared(latest: Path, tmp_path: Path) -> None:
    recorded = tmp_path / "recorded.json"
    keep_ratio(latest, 0.4, load="10,000 lines")
    compare(record=True, latest=latest, recorded=recorded)
    keep_ratio(latest, 0.1, load="300 lines")
    with pytest.raises(OperatorError, match="with a recorded load"):
        compare(record=False, latest=latest, recorded=recorded)


def test_compare_without_recorded_results_is_rejected(latest: Path, tmp_path: Path) -> None:
    keep_ratio(latest, 0.4)
    with pytest.raises(OperatorError, match="--record"):
        compare(record=False, latest=latest, recorded=tmp_path / "recorded.json")
