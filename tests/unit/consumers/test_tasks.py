import pytest

from services.consumers.tasks import _reason


@pytest.mark.parametrize(
    ("over_time", "reason"),
    [(0, "worker lost 3 times"), (1, "worker lost 2 times, time limit 1 time"), (3, "time limit 3 times")],
)
def test_reason_counts_lost_workers_and_time_limits(over_time: int, reason: str) -> None:
    assert _reason(3, over_time) == reason
