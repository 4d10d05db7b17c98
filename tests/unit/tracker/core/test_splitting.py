import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backbone.bodies import Malformed
from services.tracker.core import splitting
from services.tracker.core.bodies import TooLarge
from services.tracker.core.splitting import SHORT_BYTES, split_batch

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(alphabet='ab"\\\\[]{},:', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=10,
)


def texts(body: bytes) -> list[bytes]:
    return [bytes(text) for text in split_batch(b"", body).entries]


def scanned(elements: list[object], *, indent: int | None = None) -> list[object]:
    """Split an array with the scanner, by an invalid last element."""
    body = json.dumps([*elements, "END"], indent=indent).encode().replace(b'"END"', b"NaN")
    *found, last = texts(body)
    assert last.strip() == b"NaN"
    return [msgspec.json.decode(text) for text in found]


@given(st.lists(VALUES, max_size=5), st.sampled_from([None, 1]))
def test_scanner_finds_the_elements_that_a_decoder_finds(elements: list[object], indent: int | None) -> None:
    assert scanned(elements, indent=indent) == elements


@given(st.lists(VALUES, max_size=5), st.integers(min_value=2, max_value=9))
def test_scanner_works_with_any_window_size(elements: list[object], window: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splitting, "_WINDOW", window)
        assert scanned(elements) == elements


@pytest.mark.parametrize("size", [1, 65_535, 65_536, 65_537, 200_000])
@pytest.mark.parametrize("piece", ["x", "\\", '"', "["])
def test_scanner_reads_long_strings(piece: str, size: int) -> None:
    elements = [1, piece * size, [piece * size, {}], 2]
    assert scanned(elements) == elements


def test_long_array_is_scanned_one_element_at_a_time() -> None:
    elements = SHORT_BYTES // 2 + 1
    entries = split_batch(b"", b"[%s]" % b",".join([b"1"] * elements)).entries
    assert bytes(next(entries)) == b"1"
    assert not isinstance(next(entries), msgspec.Raw)
    assert sum(1 for _ in entries) == elements - 2


@pytest.mark.parametrize("envelope", [b'{"batch":[%s],"sentAt":7}', b'{"sent_at":7,"events":[%s]}'])
def test_long_envelope_is_scanned_with_the_result_of_a_short_one(envelope: bytes) -> None:
    for elements in (2, SHORT_BYTES):
        document = split_batch(b"", envelope % b",".join([b"1"] * elements))
        assert document.sent_at == 7
        assert [bytes(entry) for entry in document.entries] == [b"1"] * elements


@pytest.mark.parametrize(
    "body",
    [
        b"[NaN",
        b"[NaN}",
        b'[NaN,"]',
        b"[NaN]]",
        b"[NaN],",
        b'["' + b"x" * 70_000,
        b'["\\',
        b"[" * 100_000,
        b'{"events":[NaN}',
        b'{"batch":[{"a":1}',
        b'{"a":NaN} x',
        b'{"a":NaN}{"b":1}',
        b'{"a":',
    ],
)
def test_document_without_end_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        texts(body)


@pytest.mark.parametrize(
    ("body", "expected"), [(b"[]", []), (b"[ ]", []), (b"[NaN,]", [b"NaN"]), (b"[NaN, ]", [b"NaN"])]
)
def test_blank_after_last_comma_is_not_an_element(body: bytes, expected: list[bytes]) -> None:
    assert texts(body) == expected


def test_scanner_refuses_document_with_too_many_brackets() -> None:
    with pytest.raises(TooLarge, match="1200000 brackets and commas"):
        texts(b"[NaN,[%s]]" % b",".join([b"[[]]"] * 700_000))


def test_last_ndjson_line_needs_no_newline() -> None:
    lines = split_batch(b"application/x-ndjson; charset=utf-8", b"\n 1\r\n\n2\n" + b" " * 70_000 + b"\n3").entries
    assert [bytes(line).strip() for line in lines] == [b"1", b"2", b"3"]
