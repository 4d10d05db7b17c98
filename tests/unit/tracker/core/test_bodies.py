import gzip
import tracemalloc
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backbone.bodies import Malformed, Refused, Unsupported, query_of, query_of_members, read_json
from services.tracker.core.bodies import DECODED_BYTES_PER_BYTE, Body, TooLarge, params_of_body

JSON = b"application/json"


def multipart(*parts: bytes, end: bytes = b"--B--\r\n") -> bytes:
    return b"".join(b"--B\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + end


def test_form_pairs_stay_unchanged() -> None:
    assert params_of_body(b"application/x-www-form-urlencoded; charset=utf-8", b"a=1&a=%zz&b\n") == b"a=1&a=%zz&b"


def test_multipart_form_gives_its_text_fields() -> None:
    body = multipart(b'name="a b"\r\n\r\n1&2', b'name="f"; filename="x"\r\n\r\nfile', b'name="u"\r\n\r\n\xc3\xbc')
    assert params_of_body(b"multipart/form-data; boundary=B", body) == b"a%20b=1%262&u=\xc3\xbc"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (b"multipart/form-data", b""),
        (b"multipart/form-data; boundary=B", b"garbage"),
        (b"multipart/form-data; boundary=B", multipart(b'name="a"\r\n\r\n1', end=b"")),
        (b"multipart/form-data; boundary=" + b"B" * 500, b""),
        (JSON, b"{"),
        (JSON, b"[]"),
        (JSON, b"1"),
        (JSON, b'{"a":NaN}'),
        (JSON, b'{"a":1e999}'),
        (JSON, b'{"a":"\xff"}'),
        (JSON, b"[" * 100_000),
        (JSON, b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        (JSON, b'{"a":' + b"1" * 5000 + b"}"),
    ],
)
def test_invalid_body_is_malformed(content_type: bytes, body: bytes) -> None:
    with pytest.raises(Malformed):
        params_of_body(content_type, body)


@pytest.mark.parametrize(
    ("body", "pairs"),
    [
        (b'{"a":"x y","b":1.5,"c":true,"d":null}', [("a", "x y"), ("b", "1.5"), ("c", "true"), ("d", "")]),
        (b'{"n":{"k":[1,"\xc3\xbc"]}}', [("n", '{"k":[1,"ü"]}')]),
        (b'{"a":123456789012345678901234567890}', [("a", "123456789012345678901234567890")]),
        (b'{"a":"x\\u0000y&=+%#"}', [("a", "x\0y&=+%#")]),
        (b'{"a":"cut \\ud83d","b":"\\ud83d\\ude00","c":"\\\\ud83d"}', [("a", "cut �"), ("b", "😀"), ("c", "\\ud83d")]),
        (b"", []),
    ],
)
def test_json_object_gives_its_members(body: bytes, pairs: list[tuple[str, str]]) -> None:
    assert parse_qsl(params_of_body(JSON, body).decode(), keep_blank_values=True) == pairs


@pytest.mark.parametrize(
    ("body", "params"),
    [
        (b'{"a":1}', b"a=1"),
        (b"a=1&b=x%20y\n", b"a=1&b=x%20y"),
        (b"sw[latitude]=1&a-b=", b"sw[latitude]=1&a-b="),
        (b"pizza & pasta = 7", b"text=pizza%20%26%20pasta%20%3D%207"),
        (b"{not json", b"text={not%20json"),
        (b"", b""),
    ],
)
@pytest.mark.parametrize("content_type", [b"", b"text/plain;charset=UTF-8", b"application/octet-stream"])
def test_text_body_becomes_json_members_or_pairs_or_one_parameter(
    content_type: bytes, body: bytes, params: bytes
) -> None:
    assert params_of_body(content_type, body) == params


def test_other_kinds_are_unsupported() -> None:
    with pytest.raises(Unsupported):
        params_of_body(b"image/png", b"x")


@given(st.binary(max_size=60), st.binary(max_size=200))
def test_any_body_gives_parameters_or_is_refused(content_type: bytes, body: bytes) -> None:
    try:
        params_of_body(content_type, body)
    except Refused as refusal:
        assert str(refusal)  # noqa: PT017 - most bodies are not refused


@given(st.lists(st.tuples(st.text(min_size=1), st.text())))
def test_pairs_survive_the_query(pairs: list[tuple[str, str]]) -> None:
    written = query_of((key.encode(), value.encode()) for key, value in pairs)
    assert parse_qsl(written.decode(), keep_blank_values=True) == pairs


@given(st.dictionaries(st.text(min_size=1, max_size=100), st.text() | st.integers()))
def test_members_survive_the_query(members: dict[str, str | int]) -> None:
    decoded = parse_qsl(query_of_members(members).decode(), keep_blank_values=True)
    assert decoded == [(key, str(value)) for key, value in members.items()]


def test_other_json_values_are_encoded_as_json() -> None:
    members = {"yes": True, "none": None, "part": 1e20, "list": [1, "a b"]}
    assert query_of_members(members) == b'yes=true&none=&part=1e%2B20&list=[1,"a%20b"]'


def test_unusual_json_members_are_read() -> None:
    assert read_json(b'{"a":1,"a":2}') == {"a": 2}


def feed(data: bytes, *, encoding: bytes = b"gzip", limit: int = 1000, step: int = 64) -> bytes:
    body = Body(encoding, limit=limit, setting="LIMIT")
    for at in range(0, len(data), step):
        body.feed(data[at : at + step])
    return bytes(body.finish())


@given(st.binary(max_size=1000), st.integers(min_value=1, max_value=400))
def test_body_equals_sent_bytes_for_any_pieces(data: bytes, step: int) -> None:
    assert feed(data, encoding=b"", step=step) == data
    assert feed(gzip.compress(data), limit=2000, step=step) == data
    assert feed(gzip.compress(data) + gzip.compress(b"more"), limit=2000, step=step) == data + b"more"


def test_body_over_limit_is_refused_with_limit_and_setting() -> None:
    assert len(feed(b"x" * 1000, encoding=b"")) == 1000
    for data, encoding in ((b"x" * 1001, b"identity"), (gzip.compress(b"x" * 1001), b"gzip")):
        with pytest.raises(TooLarge, match=r"1000 bytes \(LIMIT\)"):
            feed(data, encoding=encoding)


def test_gzip_bomb_uses_little_memory() -> None:
    bomb = gzip.compress(bytes(200_000_000), compresslevel=1)
    tracemalloc.start()
    with pytest.raises(TooLarge):
        feed(bomb, limit=1_000_000, step=65_536)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000


@pytest.mark.parametrize(
    "piece", [b"{}", b"[[]]", b'{"":0}', b'{"":{}}', b"[" * 900 + b"]" * 900, b'{"":' * 900 + b"0" + b"}" * 900]
)
def test_decoded_json_memory_is_within_its_factor(piece: bytes) -> None:
    text = b"[%s]" % b",".join([piece] * (100_000 // len(piece)))
    tracemalloc.start()
    value = read_json(text)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert value
    assert taken < DECODED_BYTES_PER_BYTE * len(text)


@pytest.mark.parametrize("encoding", [b"", b"gzip"])
def test_body_fits_its_unpacked_size(encoding: bytes) -> None:
    body = Body(encoding, limit=2000, setting="LIMIT")
    body.feed(gzip.compress(b"x" * 1000) if encoding else b"x" * 1000)
    assert [body.fits(size) for size in (999, 1000, 1001)] == [False, True, True]
    assert body.finish() == b"x" * 1000


def test_body_with_invalid_gzip_data_counts_as_fitting() -> None:
    body = Body(b"gzip", limit=2000, setting="LIMIT")
    body.feed(b"no gzip")
    assert body.fits(1)


@pytest.mark.parametrize("content_type", [b"application/json", b"text/plain", b""])
def test_byte_order_mark_is_ignored(content_type: bytes) -> None:
    assert params_of_body(content_type, b'\xef\xbb\xbf{"a":1}') == b"a=1"


@pytest.mark.parametrize("data", [b"no gzip", gzip.compress(b"x" * 50, mtime=0)[:-4]])
def test_broken_gzip_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        feed(data)


def test_gzip_with_too_many_members_is_malformed() -> None:
    assert feed(gzip.compress(b"x") * 64, limit=10_000) == b"x" * 64
    with pytest.raises(Malformed, match="64 members"):
        feed(gzip.compress(b"") * 65, limit=10_000)


def test_unknown_content_encoding_is_unsupported() -> None:
    with pytest.raises(Unsupported):
        Body(b"br", limit=1, setting="LIMIT")
