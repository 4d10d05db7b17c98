import json
from pathlib import Path

import pytest

from deploy.bench.compare import compare, keep
from deploy.bench.figures import Round, summed_up
from deploy.errors import OperatorError


@pytest.fixture
def latest(tmp_path: Path) -> Path:
    return tmp_path / "latest"


def keep_ratio(folder: Path, ratio: float, *, name: str = "tracker", brief: bool = False) -> None:
    figure = summed_up(name, [Round(rate=100.0 * ratio)], {"nginx": [Round(rate=100.0)]})
    keep(figure, brief=brief, folder=folder)


def test_a_ratio_that_fell_by_more_than_a_fifth_is_a_regression(
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


def test_brief_figures_are_neither_compared_nor_recorded(latest: Path, tmp_path: Path) -> None:
    keep_ratio(latest, 0.1, brief=True)
    with pytest.raises(OperatorError, match="--brief"):
        compare(record=True, latest=latest, recorded=tmp_path / "recorded.json")
    assert json.loads((latest / "tracker.json").read_text())["brief"] is True


def test_recording_one_bench_keeps_the_others(latest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = tmp_path / "recorded.json"
    recorded.write_text('{"batch": {"figure": {"ratios": {"nginx": 1.0}}}}')
    keep_ratio(latest, 0.4)
    assert compare(record=False, latest=latest, recorded=recorded) == 0
    assert "not recorded yet: tracker" in capsys.readouterr().out
    compare(record=True, latest=latest, recorded=recorded)
    assert set(json.loads(recorded.read_text())) == {"batch", "tracker"}
