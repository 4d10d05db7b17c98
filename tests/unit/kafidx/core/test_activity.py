from services.kafidx.core.activity import Activity


def test_types_of_the_last_ten_seconds_the_most_frequent_first() -> None:
    activity = Activity()
    activity.count(["old"] * 9, now_s=100.0)
    activity.count(["view"] * 3 + ["click"], now_s=105.5)
    activity.count(["click"] * 3, now_s=109.9)
    assert activity.top(now_s=109.9) == {"old": 9, "click": 4, "view": 3}
    assert list(activity.top(now_s=110.1)) == ["click", "view"]
    assert activity.top(now_s=130) == {}


def test_only_eight_are_told() -> None:
    activity = Activity()
    activity.count((f"type {number}" for number in range(100)), now_s=1)
    assert len(activity.top(now_s=1)) == 8
