import time

import pytest

from services.offerserver.core.drafts import UnreadableFeed
from services.offerserver.core.values import Rejection
from services.offerserver.importers.rows import MOST_DEPTH, FeedRow, JsonRows
from tests.unit.offerserver.reading import configured, document, parse, rejected


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


@pytest.mark.parametrize("text", ['{"index": [{"a": nan}]}', '{"index": [', "", "not JSON", '{"index": [1e]}'])
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


@pytest.mark.parametrize(
    "number", ["9223372036854775808", "-9223372036854775809", "1" * 5_000, "1e400", "-1E+400", "NaN", "-Infinity"]
)
def test_number_that_ijson_does_not_read_is_a_text(number: str) -> None:
    found, rows = read('{"index": [{"a": %s, "b": "%s"}, {"a": [%s]}, {"a": 1}]}' % ((number,) * 3))
    assert found == [{"a": number, "b": number}, {"a": [number]}, {"a": 1}]
    assert (rows.partial, rows.rejections) == ([], [])


def test_other_long_numbers_stay_numbers() -> None:
    text = '[9223372036854775807, -9223372036854775807, 52.12345678901234567890123, 1e300, 1e-400, "NaN", 1e400]'
    found, _ = read(f'{{"index": [{{"a": {text}}}]}}')
    assert found[0]["a"] == [2**63 - 1, 1 - 2**63, 52.12345678901234567890123, 1e300, 0.0, "NaN", "1e400"]


def test_number_that_is_too_large_rejects_its_row_alone() -> None:
    point = '{"type": "Point", "coordinates": [%s, 52.5]}'
    features = (
        f'{{"id": {n}, "properties": {{"name": "Park"}}, "geometry": {point % x}}}'
        for n, x in enumerate(("13.4", "1e400", "NaN", "1" * 400, "13.5"))
    )
    found = parse(configured("parks.yaml"), document(f'{{"features": [{", ".join(features)}]}}'))
    assert [draft.id for draft in found.drafts] == ["0", "4"]
    assert [row[:2] for row in rejected(found)] == [("1", "geometry"), ("2", "geometry"), ("3", "geometry")]
    assert found.partial == ()


def test_documents_of_hostile_numbers_are_read_in_linear_time() -> None:
    began = time.monotonic()
    for number in ("1" * 1_000_000, "1e400," * 200_000, "-" * 1_000_000, '"NaN' * 200_000, "1." * 400_000):
        read(f'{{"index": [{number}')
    assert time.monotonic() - began < 10
