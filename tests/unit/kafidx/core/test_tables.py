import csv
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kafidx.core import tables
from services.kafidx.core.query import BadQuery
from services.kafidx.core.tables import (
    PAGE_ROWS,
    Line,
    Order,
    SortBy,
    TableQuery,
    csv_slices,
    cut,
    json_slices,
    neutral,
    parse_table_query,
)

LINES = {"b": 2, "A": 2, "c": 10}


def test_table_is_sorted_by_label_or_count_in_both_orders() -> None:
    assert [line.label for line in cut(LINES, TableQuery()).rows] == ["c", "b", "A"]
    assert [line.label for line in cut(LINES, TableQuery(order="asc")).rows] == ["A", "b", "c"]
    assert [line.label for line in cut(LINES, TableQuery("label", "asc")).rows] == ["A", "b", "c"]


def test_search_returns_the_highest_count_of_the_matching_rows() -> None:
    table = cut(LINES, TableQuery(q="B"))
    assert ([line.label for line in table.rows], table.total_rows, table.max_count) == (["b"], 1, 2)
    assert cut(LINES, TableQuery(q="nothing", page=3))[1:] == (0, 1, 1, 0)


@given(st.integers(0, 350), st.integers(1, 9))
def test_pages_hold_every_row_once(count: int, page: int) -> None:
    lines = {f"{number}": number for number in range(count)}
    pages = cut(lines, TableQuery(page=1)).pages
    found = [line.label for number in range(1, pages + 1) for line in cut(lines, TableQuery(page=number)).rows]
    assert sorted(found, key=int) == list(lines)
    table = cut(lines, TableQuery(page=page))
    assert table.page == min(page, pages)
    assert len(table.rows) <= PAGE_ROWS


def test_table_query_has_defaults_by_kind_of_counter() -> None:
    assert parse_table_query("", page=1) == TableQuery("count", "desc", 1)
    assert parse_table_query("", page=None, kind="histograms") == TableQuery("label", "asc", None)
    assert parse_table_query("sort=label&page=3&q=x&format=csv", page=1) == TableQuery("label", "asc", 3, "x", "csv")


@pytest.mark.parametrize("query", ["sort=x", "order=x", "page=0", "page=-1", "page=x", "format=x", "q=" + "x" * 201])
def test_invalid_table_query_is_refused(query: str) -> None:
    with pytest.raises(BadQuery) as error:
        parse_table_query(query, page=1)
    assert error.value.parameter == query.partition("=")[0]


@given(
    st.dictionaries(st.text(), st.integers(0, 3)), st.sampled_from(["label", "count"]), st.sampled_from(["asc", "desc"])
)
def test_rows_sorted_in_parts_equal_rows_sorted_at_once(counts: dict[str, int], sort: SortBy, order: Order) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_SORTED_AT_ONCE", 3)
        rows = cut(counts, TableQuery(sort, order)).rows
    lines = [Line(label, count) for label, count in counts.items()]
    if sort == "label":
        lines.sort(key=lambda line: (line.label.casefold(), line.label), reverse=order == "desc")
    else:
        lines.sort(key=lambda line: (line.count, line.label), reverse=order == "desc")
    assert list(rows) == lines


@pytest.mark.parametrize("count", [0, 1, 1000, 1001, 2500])
def test_slices_join_to_one_document(count: int) -> None:
    rows = [Line(f"label {number}", number) for number in range(count)]
    parts = list(json_slices({"name": "x"}, rows))
    written = [{"label": row.label, "count": row.count} for row in rows]
    assert json.loads(b"".join(parts)) == {"name": "x", "rows": written}
    assert len(parts) == 2 + -(-count // 1000)
    table = b"".join(csv_slices("Title", rows)).decode()
    assert table.splitlines() == ["Title,count", *(f"{row.label},{row.count}" for row in rows)]


INNER_MARK = re.compile(r"([;\t\r\n])'(?=(?:[^\S\t\r\n]|['\"])*[=+\-@|%\uff1d\uff0b\uff0d\uff20])")


@given(st.text() | st.text("=-;\t\r\n '\"a,"))
def test_no_cell_is_a_formula_and_each_can_be_restored(label: str) -> None:
    _, (cell, _) = csv.reader(io.StringIO(b"".join(csv_slices("Title", [Line(label, 1)])).decode(), newline=""))
    assert cell.lstrip(" \t\r\n'")[:1] not in tuple("=+-@|%") or cell.startswith("'")
    for part in re.split(r"[;\t\r\n]", cell):
        assert part.lstrip()[:1] not in tuple("=+-@|%")
    assert INNER_MARK.sub(r"\1", cell.removeprefix("'")) == label


@pytest.mark.parametrize("text", ["=cmd()", "+1", "-1", "@x", "  =1", "|x", "%0", "'quoted", "\uff1d1"])
def test_text_that_a_spreadsheet_reads_as_a_formula_is_neutralised(text: str) -> None:
    assert neutral(text) == f"'{text}"


@pytest.mark.parametrize(
    ("text", "written"),
    [("a;=1", "a;'=1"), ("a\t =1", "a\t' =1"), ("a;'=1", "a;''=1"), ('a;"=1"', "a;'\"=1\""), ("a\n@x", "a\n'@x"),
     ("=1;-1", "'=1;'-1"), ("\t=1", "'\t'=1"), ("a;b=1", "a;b=1"), ("a;'b", "a;'b")],
)  # fmt: skip
def test_formula_after_another_separator_is_neutralised(text: str, written: str) -> None:
    assert neutral(text) == written
