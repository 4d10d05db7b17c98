import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.storage.core.bulk_json import BulkItem, BulkReader, MalformedBody

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def read(pieces: Iterable[bytes], *, max_element: int = 10_000) -> list[BulkItem]:
    reader = BulkReader(frozenset({"new", "old"}), max_element=max_element)
    items = [item for piece in pieces for item in reader.feed(piece)]
    return [*items, *reader.feed(b"", is_last=True)]


@given(
    new=st.lists(VALUES, max_size=4),
    old=st.lists(VALUES, max_size=4),
    other=VALUES,
    size=st.integers(1, 40),
    indent=st.none() | st.just(1),
    escape=st.booleans(),
)
def test_reader_yields_the_elements_however_the_body_is_cut(
    new: list[Any], old: list[Any], other: Any, size: int, indent: int | None, *, escape: bool
) -> None:
    text = json.dumps({"new": new, "other": other, "old": old}, indent=indent, ensure_ascii=escape)
    body = text.encode("utf-8", "surrogatepass" if not escape else "strict")
    found = read(body[begin : begin + size] for begin in range(0, len(body), size))
    assert [item[:3] for item in found] == [
        (name, n, value) for name, values in (("new", new), ("old", old)) for n, value in enumerate(values)
    ]


@pytest.mark.parametrize("cut", [1, 5, 1000])
def test_element_has_the_number_of_its_characters(cut: int) -> None:
    body = '{"new": [{"a": "ü"}, 17]}'.encode()
    assert [item.size for item in read(body[begin : begin + cut] for begin in range(0, len(body), cut))] == [10, 2]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "incomplete"),
        (b"[]", "the body is not a JSON object"),
        (b'{"new": {}}', "new is not a list"),
        (b'{"new": [1', "malformed|incomplete"),
        (b'{"new": [1 2]}', "',' is expected"),
        (b'{"new": [1,]}', "malformed"),
        (b'{"new": []} {}', "after the end"),
        (b"{1: []}", "a name is not a string"),
        (b'{"new": [NaN]}', "NaN is not JSON"),
        (b'{"new": ["\xff"]}', "not UTF-8"),
        (b'{"new": [' + b"[" * 100_000, "not allowed|more than"),
    ],
)
def test_malformed_body_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(MalformedBody, match=reason):
        read([body])


@pytest.mark.parametrize("cut", [1, 30, 1000])
def test_element_above_the_limit_is_refused_when_it_comes_in_pieces_too(cut: int) -> None:
    body = b'{"new": ["' + b"x" * 500 + b'"]}'
    with pytest.raises(MalformedBody, match="more than 100 characters"):
        read([body[begin : begin + cut] for begin in range(0, len(body), cut)], max_element=100)


def test_reason_can_be_encoded_when_a_name_has_half_of_a_surrogate_pair() -> None:
    with pytest.raises(MalformedBody, match="is none of the lists") as raised:
        read([b'{"\\ud800": 1}'])
    assert str(raised.value).encode() == b"? is none of the lists new, old"
