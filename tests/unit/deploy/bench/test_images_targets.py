import pytest

from deploy.bench.images_targets import ImageTarget, judge
from deploy.bench.results import Round

TARGET = ImageTarget("upload", "ours", "theirs", 0.4)


def rounds(*rates: float, cpu_us: float | None = None) -> list[Round]:
    return [Round(rate=rate, cpu_us_per_event=cpu_us) for rate in rates]


def test_ratios_are_those_of_the_medians() -> None:
    verdict = judge(TARGET, {"ours": rounds(1.0, 40.0, 900.0, cpu_us=200.0), "theirs": rounds(100.0, cpu_us=50.0)})
    assert (verdict.by_rate, verdict.by_cpu) == (0.4, 0.25)


@pytest.mark.parametrize(
    ("rate", "cpu_us", "is_met"),
    [(40.0, 125.0, True), (80.0, 100.0, True), (39.0, 100.0, False), (80.0, 126.0, False), (80.0, None, False)],
)
def test_target_is_met_if_both_ratios_reach_it(rate: float, cpu_us: float | None, is_met: bool) -> None:  # noqa: FBT001
    rows = {"ours": rounds(rate, cpu_us=cpu_us), "theirs": rounds(100.0, cpu_us=50.0)}
    assert judge(TARGET, rows).is_met is is_met


def test_target_is_missed_without_a_rate() -> None:
    verdict = judge(TARGET, {"ours": [Round()], "theirs": rounds(1.0)})
    assert (verdict.by_rate, verdict.by_cpu, verdict.is_met) == (None, None, False)
