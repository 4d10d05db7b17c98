import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kafidx.core.faults import BadQuery
from services.kafidx.core.tables import PAGE_ROWS, Line, TableQuery, as_csv, cut, neutral, parse_table_query

LINES = [Line("b", 2), Line("A", 2), Line("c", 10)]


def test_tables_are_sorted_both_ways() -> None:
    assert [line.label for line in cut(LINES, TableQuery()).rows] == ["c", "b", "A"]
    assert [line.label for line in cut(LINES, TableQuery(order="asc")).rows] == ["A", "b", "c"]
    assert [line.label for line in cut(LINES, TableQuery("label", "asc")).rows] == ["A", "b", "c"]


def test_searching_bounds_bars_by_what_was_found() -> None:
    table = cut(LINES, TableQuery(q="B"))
    assert ([line.label for line in table.rows], table.total_rows, table.max_count) == (["b"], 1, 2)
    assert cut(LINES, TableQuery(q="nothing", page=3))[1:] == (0, 1, 1, 0)


@given(st.integers(0, 350), st.integers(1, 9))
def test_pages_hold_every_row_once(count: int, page: int) -> None:
    lines = [Line(f"{number}", number) for number in range(count)]
    pages = cut(lines, TableQuery(page=1)).pages
    found = [line.label for number in range(1, pages + 1) for line in cut(lines, TableQuery(page=number)).rows]
    assert sorted(found, key=int) == [line.label for line in lines]
    table = cut(lines, TableQuery(page=page))
    assert table.page == min(page, pages)
    assert len(table.rows) <= PAGE_ROWS


def test_queries_have_defaults_by_kind() -> None:
    assert parse_table_query("", page=1) == TableQuery("count", "desc", 1)
    assert parse_table_query("", page=None, kind="histograms") == TableQuery("label", "asc", None)
    assert parse_table_query("sort=label&page=3&q=x&format=csv", page=1) == TableQuery("label", "asc", 3, "x", "csv")


@pytest.mark.parametrize("query", ["sort=x", "order=x", "page=0", "page=-1", "page=x", "format=x", "q=" + "x" * 201])
def test_bad_queries_are_refused(query: str) -> None:
    with pytest.raises(BadQuery) as fault:
        parse_table_query(query, page=1)
    assert fault.value.parameter == query.partition("=")[0]


INNER_MARK = re.compile(r"([;\t\r\n])'(?=(?:[^\S\t\r\n]|['\"])*[=+\-@|%\uff1d\uff0b\uff0d\uff20])")


@given(st.text() | st.text("=-;\t\r\n '\"a,"))
def test_no_cell_begins_like_a_formula_and_each_reads_back(label: str) -> None:
    _, (cell, _) = csv.reader(io.StringIO(as_csv("Title", [Line(label, 1)]), newline=""))
    assert cell.lstrip(" \t\r\n'")[:1] not in tuple("=+-@|%") or cell.startswith("'")
    for part in re.split(r"[;\t\r\n]", cell):
        assert part.lstrip()[:1] not in tuple("=+-@|%")
    assert INNER_MARK.sub(r"\1", cell.removeprefix("'")) == label


@pytest.mark.parametrize("text", ["=cmd()", "+1", "-1", "@x", "  =1", "|x", "%0", "'quoted", "\uff1d1"])
def test_what_a_spreadsheet_would_run_is_neutralised(text: str) -> None:
    assert neutral(text) == f"'{text}"


@pytest.mark.parametrize(
    ("text", "written"),
    [("a;=1", "a;'=1"), ("a\t =1", "a\t' =1"), ("a;'=1", "a;''=1"), ('a;"=1"', "a;'\"=1\""), ("a\n@x", "a\n'@x"),
     ("=1;-1", "'=1;'-1"), ("\t=1", "'\t'=1"), ("a;b=1", "a;b=1"), ("a;'b", "a;'b")],
)  # fmt: skip
def test_what_another_separator_would_make_a_formula_is_neutralised(text: str, written: str) -> None:
    assert neutral(text) == written
