import pytest

from services.kafidx.core.tables import Line, Table
from services.kafidx.routes.views import TableRow, duration, kinds, rows, timings, visible

LEGEND = {"(p)": "tracker pod", "(c)": "client address, as stored", "p50, p95": "percentiles"}


def a_table(*lines: Line, max_count: float = 100) -> Table:
    return Table(lines, len(lines), 1, 1, max_count)


def test_kinds_are_the_marks_of_a_legend() -> None:
    assert kinds(LEGEND) == {"(p)": "tracker pod", "(c)": "client address"}


def test_bars_of_several_kinds_have_a_scale_for_each_kind() -> None:
    table = a_table(Line("(p) a", 90), Line("(c) x", 30), Line("(c) y", 10), Line("(z) other", 5))
    assert rows(table, LEGEND) == [
        TableRow("tracker pod", "a", 90, 90),
        TableRow("client address", "x", 30, 30),
        TableRow("client address", "y", 10, 30),
        TableRow("", "(z) other", 5, 100),
    ]


def test_bars_of_one_kind_share_the_highest_count_of_all_pages() -> None:
    assert rows(a_table(Line("(p) a", 90)), {}) == [TableRow("", "(p) a", 90, 100)]


def test_timings_are_the_series_of_the_rows_in_their_order() -> None:
    chart = {"values": 1234, "average_ms": 4.0, "p50": 4.0, "p95": 257.5, "p99": 1501.0, "negative": 0, "unknown": 2}
    charts = [chart | {"series": name} for name in ("klag", "other", "tsavg")]
    table = a_table(Line("tsavg p50", 4), Line("klag", 4), Line("klag p50", 4), Line("totaleventsseen", 9))
    shown = timings(charts, table, {"klag": "time in Redis"})
    assert [(timing.series, timing.meaning) for timing in shown] == [("tsavg", ""), ("klag", "time in Redis")]
    assert list(shown[0].facts) == [
        ("values", "1,234"), ("average", "4 ms"), ("p50", "4 ms"), ("p95", "258 ms"), ("p99", "1.5 s"),
        ("without a time", "2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0 ms"), (4.04, "4 ms"), (99.44, "99.4 ms"), (999.4, "999 ms"),
     (1000, "1 s"), (99_000, "99 s"), (180_000, "3 min"),
     (9_000_000, "2.5 h"), (2**32 - 1, "1193 h")],
)  # fmt: skip
def test_duration_has_a_readable_unit(ms: float, text: str) -> None:
    assert duration(ms) == text


def test_control_characters_are_visible_and_line_breaks_stay() -> None:
    assert visible("\x07<b>\t\n\x7f\\xff") == "\\x07<b>\t\n\\x7f\\xff"
