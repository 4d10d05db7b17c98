import pytest

from deploy.bench.images_targets import ImageTarget, judge
from deploy.bench.results import Round

TARGET = ImageTarget("upload", "ours", "theirs", 0.4)


def rounds(*rates: float, cpu_us: float | None = None) -> list[Round]:
    return [Round(rate=rate, cpu_us_per_event=cpu_us) for rate in rates]


@pytest.mark.parametrize(("rate", "is_met"), [(39.0, False), (40.0, True), (80.0, True)])
def test_target_is_met_by_the_ratio_of_the_median_rates(rate: float, is_met: bool) -> None:  # noqa: FBT001
    verdict = judge(TARGET, {"ours": rounds(1.0, rate, 900.0), "theirs": rounds(100.0, 100.0, 7.0)})
    assert (verdict.by_rate, verdict.is_met) == (rate / 100, is_met)


def test_ratio_of_cpu_time_is_that_of_the_reference_by_ours() -> None:
    rows = {"ours": rounds(1.0, cpu_us=200.0), "theirs": rounds(9.0, cpu_us=50.0)}
    assert judge(TARGET, rows).by_cpu == 0.25


def test_target_is_missed_without_a_rate() -> None:
    verdict = judge(TARGET, {"ours": [Round()], "theirs": rounds(1.0)})
    assert (verdict.by_rate, verdict.by_cpu, verdict.is_met) == (None, None, False)
