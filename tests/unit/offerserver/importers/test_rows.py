import pytest

from services.offerserver.core.drafts import UnreadableFeed
from services.offerserver.core.values import Rejection
from services.offerserver.importers.rows import MOST_DEPTH, FeedRow, JsonRows
from tests.unit.offerserver.reading import document


def read(text: str) -> tuple[list[FeedRow], JsonRows]:
    rows = JsonRows(document(text), "index.item")
    return list(rows), rows


def test_rows_of_a_list_are_read() -> None:
    found, rows = read('{"other": {"index": [1]}, "index": [{"a": 1.5}, {"a": "x"}]}')
    assert found == [{"a": 1.5}, {"a": "x"}]
    assert rows.partial == []


def test_rows_before_the_cut_are_read() -> None:
    found, rows = read('{"index": [{"a": 1}, {"a": 2}, {"b')
    assert found == [{"a": 1}, {"a": 2}]
    assert rows.partial == ["the JSON is not well formed: parse error: premature EOF"]


@pytest.mark.parametrize("text", ['{"index": [{"a": NaN}]}', '{"index": [', "", "not JSON", '{"index": [1e999]}'])
def test_document_that_is_not_json_is_partial(text: str) -> None:
    found, rows = read(text)
    assert found == []
    assert len(rows.partial) == 1


@pytest.mark.parametrize("text", ["{}", "[]", '{"index": {}}', '{"index": 5}', '{"index": []}'])
def test_document_without_the_list_has_no_rows(text: str) -> None:
    found, rows = read(text)
    assert (found, rows.partial) == ([], [])


def test_element_that_is_no_object_is_rejected() -> None:
    found, rows = read('{"index": [{"a": 1}, 5, ["x"]]}')
    assert found == [{"a": 1}]
    assert rows.rejections == [
        Rejection("", "row", "5", "is not an object"),
        Rejection("", "row", "(list)", "is not an object"),
    ]


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_document_of_depth_100000_is_refused(opening: str) -> None:
    with pytest.raises(UnreadableFeed, match=f"nested deeper than {MOST_DEPTH} levels"):
        read('{"index":' + opening * 100_000)


def test_brackets_in_texts_are_no_nesting() -> None:
    found, _ = read('{"index": [{"a": "' + "[{" * 1_000 + '\\"{[[", "b": 1}]}')
    assert found[0]["b"] == 1
