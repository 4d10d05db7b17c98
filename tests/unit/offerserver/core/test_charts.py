from services.offerserver.core.charts import line_points


def test_line_goes_from_zero_to_the_largest_value() -> None:
    assert line_points([0, 5, 10]) == "0.0,23.0 60.0,12.0 120.0,1.0"


def test_one_value_is_a_line_and_none_is_nothing() -> None:
    assert line_points([3]) == "0.0,1.0 120.0,1.0"
    assert line_points([0, 0]) == "0.0,23.0 120.0,23.0"
    assert line_points([]) == ""
