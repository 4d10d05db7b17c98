import gzip
import zlib

import pytest

from services.backbone.outgoing.decoding import BodyDecoder, BodyRefused, DownloadLimits

LIMITS = DownloadLimits(max_bytes=10_000_000)
TEXT = b'{"index": [' + b'{"a": 1},' * 1_000 + b"{}]}"
RAW = zlib.compressobj(wbits=-zlib.MAX_WBITS)
RAW_DEFLATE = RAW.compress(TEXT) + RAW.flush()


def decoded(coding: str, body: bytes, *, piece: int = 100, limits: DownloadLimits = LIMITS) -> BodyDecoder:
    decoder = BodyDecoder(coding, limits)
    for begin in range(0, len(body), piece):
        decoder.add(body[begin : begin + piece])
    return decoder


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("", TEXT),
        ("identity", TEXT),
        ("gzip", gzip.compress(TEXT)),
        ("X-GZIP ", gzip.compress(TEXT)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", RAW_DEFLATE),
    ],
    ids=["none", "identity", "gzip", "x-gzip", "deflate", "raw deflate"],  # the bytes of gzip contain the time
)
@pytest.mark.parametrize("piece", [1, 50, 100_000])
def test_body_is_decoded_whatever_its_pieces_are(coding: str, body: bytes, piece: int) -> None:
    found = decoded(coding, body, piece=piece)
    assert bytes(found.content) == TEXT
    assert found.received_bytes == len(body)
    assert found.is_complete


def test_half_a_compressed_body_is_kept_and_incomplete() -> None:
    body = gzip.compress(TEXT)
    found = decoded("gzip", body[: len(body) - 12])
    assert not found.is_complete
    assert TEXT.startswith(bytes(found.content))


def test_body_beyond_the_limit_is_refused() -> None:
    with pytest.raises(BodyRefused, match="more than 1000 bytes"):
        decoded("", b"x" * 1_001, limits=DownloadLimits(max_bytes=1_000))
    assert len(decoded("", b"x" * 1_000, limits=DownloadLimits(max_bytes=1_000)).content) == 1_000


@pytest.mark.parametrize("coding", ["", "gzip"])
def test_begin_of_a_larger_body_can_be_enough(coding: str) -> None:
    body = gzip.compress(TEXT) if coding else TEXT
    found = decoded(coding, body, limits=DownloadLimits(max_bytes=1_000, is_begin_enough=True))
    assert (bytes(found.content), found.is_full) == (TEXT[:1_000], True)
    assert not decoded(coding, body, limits=LIMITS._replace(is_begin_enough=True)).is_full


def test_bomb_is_refused_before_the_limit() -> None:
    bomb = gzip.compress(bytes(9_000_000))
    decoder = BodyDecoder("gzip", LIMITS)
    with pytest.raises(BodyRefused, match="more than 200 times its compressed size"):
        decoder.add(bomb)
    assert len(decoder.content) < 2_000_000


def test_small_text_may_have_a_high_ratio() -> None:
    assert len(decoded("gzip", gzip.compress(bytes(1_000_000))).content) == 1_000_000


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress"])
def test_other_coding_is_refused(coding: str) -> None:
    with pytest.raises(BodyRefused, match="was not asked for"):
        BodyDecoder(coding, LIMITS)


def test_body_that_is_not_compressed_as_declared_is_refused() -> None:
    with pytest.raises(BodyRefused, match="not compressed as declared"):
        decoded("gzip", b"plain text")
