import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from services.imageserver.core.headers import read_header
from services.imageserver.core.limits import DECODED_PIXELS


def encoded(encoder: str, image: Image.Image | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    (image or Image.new("RGB", (70, 50), (90, 10, 200))).save(file, encoder, **options)
    return file.getvalue()


@pytest.mark.parametrize("encoder", DECODED_PIXELS)
def test_format_and_sides_are_those_of_pillow(encoder: str) -> None:
    header = read_header(encoded(encoder))
    assert header is not None
    assert header.format == encoder
    assert (header.width, header.height) == ((0, 0) if encoder == "AVIF" else (70, 50))


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 50}, {"exif": b"Exif\0\0MM\0*\0\0\0\10\0\0"}])
def test_sides_of_each_kind_of_webp_are_found(options: dict[str, Any]) -> None:
    header = read_header(encoded("WEBP", **options))
    assert header is not None
    assert (header.width, header.height) == (70, 50)


@pytest.mark.parametrize(
    "data", [b"", b"<svg/>", b"BM1234", b"II*\0", b"RIFF1234WAVE", b"\0\0\0\x14ftypheic\0\0\0\0heic"]
)
def test_other_format_has_no_header(data: bytes) -> None:
    assert read_header(data) is None


def test_baseline_jpeg_has_one_scan() -> None:
    header = read_header(encoded("JPEG"))
    assert header is not None
    assert header.scans == 1


def test_scans_of_a_progressive_jpeg_are_counted() -> None:
    good = encoded("JPEG", progressive=True)
    header = read_header(good)
    assert header is not None
    assert header.scans == good.count(b"\xff\xda")
    last = good[good.rindex(b"\xff\xda") : -2]
    longer = read_header(good[:-2] + 5 * last + good[-2:])
    assert longer is not None
    assert longer.scans == header.scans + 5


def test_thumbnail_in_metadata_is_not_counted() -> None:
    thumbnail = encoded("JPEG", progressive=True)
    header = read_header(encoded("JPEG", comment=thumbnail))
    assert header is not None
    assert header.scans == 1


def test_markers_after_the_end_are_not_counted() -> None:
    header = read_header(encoded("JPEG") + encoded("JPEG", progressive=True))
    assert header is not None
    assert header.scans == 1


@pytest.mark.timeout(20)
def test_fill_bytes_before_a_marker_are_skipped_in_linear_time() -> None:
    plain = encoded("JPEG", progressive=True)
    header = read_header(plain)
    scans = plain.count(b"\xff\xda")
    assert header is not None
    assert read_header(plain.replace(b"\xff\xda", b"\xff" * 5_000_000 + b"\xff\xda", 2)) == header
    # Fill bytes without a marker after them: a search from each of them to the end would take hours.
    assert read_header(plain[: plain.rindex(b"\xff\xda") + 10] + b"\xff" * 20_000_000) == header
    assert header.scans == scans


@pytest.mark.parametrize(("subsampling", "factor"), [(0, 3.0), (1, 2.0), (2, 1.5)])
def test_coefficients_follow_the_subsampling(subsampling: int, factor: float) -> None:
    header = read_header(encoded("JPEG", Image.new("RGB", (64, 64)), subsampling=subsampling))
    assert header is not None
    assert header.coefficient_bytes == 2 * 64 * 64 * factor


@pytest.mark.parametrize("count", [1, 2, 7])
def test_frames_of_a_gif_are_counted(count: int) -> None:
    frames = [Image.new("P", (20, 10), index) for index in range(count)]
    header = read_header(encoded("GIF", frames[0], save_all=True, append_images=frames[1:], optimize=False))
    assert header is not None
    assert header.frames == count


@given(st.sampled_from([*DECODED_PIXELS]), st.data())
def test_broken_bytes_raise_nothing(encoder: str, data: st.DataObject) -> None:
    content = bytearray(encoded(encoder))
    for _ in range(data.draw(st.integers(0, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    read_header(bytes(content[: data.draw(st.integers(0, len(content)))]))
