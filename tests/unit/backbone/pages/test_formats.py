import pytest

from services.backbone.pages import formats


@pytest.mark.parametrize(
    ("value", "english", "german"),
    [(0, "0", "0"), (1234, "1,234", "1.234"), (1234.5, "1,234.5", "1.234,5"), (-1000, "-1,000", "-1.000")],
)
def test_number_is_grouped(value: float, english: str, german: str) -> None:
    assert (formats.number(value), formats.number(value, "de")) == (english, german)


@pytest.mark.parametrize(
    ("metres", "text"),
    [(0, "0 m"), (42.4, "42 m"), (404, "400 m"), (994, "990 m"), (996, "1.0 km"), (1940, "1.9 km"), (12_400, "12 km")],
)
def test_distance_is_rounded_as_people_say_it(metres: float, text: str) -> None:
    assert formats.distance(metres) == text


def test_distance_has_a_decimal_comma_in_german() -> None:
    assert formats.distance(1940, "de") == "1,9 km"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_960, "1.0 MB"),
        (2_500_000_000, "2.5 GB"),
    ],
)
def test_size_has_a_readable_unit(count: int, text: str) -> None:
    assert formats.size(count) == text


def test_clock_is_in_utc_with_milliseconds() -> None:
    assert formats.clock(1_767_225_600_007) == "2026-01-01 00:00:00.007 UTC"


@pytest.mark.parametrize("ms", [-(2**63), 2**63 - 1, 253_402_300_800_000])
def test_clock_of_a_time_out_of_range_is_a_dash(ms: int) -> None:
    assert formats.clock(ms) == "\N{EN DASH}"


@pytest.mark.parametrize(
    ("age_ms", "text"),
    [(-5000, "0 s ago"), (59_999, "59 s ago"), (60_000, "1 min ago"), (3_600_000, "1 h ago"), (172_800_000, "2 d ago")],
)
def test_age_is_rounded_down(age_ms: int, text: str) -> None:
    assert formats.ago(1_000_000_000_000 - age_ms, 1_000_000_000_000) == text
