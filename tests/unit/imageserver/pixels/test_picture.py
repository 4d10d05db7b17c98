import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from services.imageserver.core.limits import PictureLimits
from services.imageserver.core.refusals import RefusalReason
from services.imageserver.pixels.picture import Picture, file_of, make_files

LIMITS = PictureLimits(max_bytes=20_000_000, max_pixels=50_000_000, max_frames=1_000)


def made(folder: Path, image: Image.Image, encoder: str = "PNG", **options: Any) -> Picture | RefusalReason:
    image.save(folder / "upload", encoder, **options)
    return make_files(str(folder / "upload"), str(folder), LIMITS)


def test_files_have_the_sizes_that_are_returned(tmp_path: Path) -> None:
    picture = made(tmp_path, Image.new("RGB", (400, 300), (1, 200, 3)))
    assert isinstance(picture, Picture)
    assert (picture.format, picture.width, picture.height) == ("PNG", 400, 300)
    assert list(picture.files) == ["original", "thumb", "iconbigger", "icon"]
    for size, types in picture.files.items():
        assert list(types) == ["jpg", "webp"]
        for image_type, length in types.items():
            assert file_of(tmp_path, size, image_type).stat().st_size == length


def test_transparent_picture_has_png_instead_of_jpeg(tmp_path: Path) -> None:
    picture = made(tmp_path, Image.new("RGBA", (40, 30), (1, 200, 3, 128)))
    assert isinstance(picture, Picture)
    assert list(picture.files["icon"]) == ["png", "webp"]


@pytest.mark.parametrize(("width", "height", "expected"), [(1, 30_000, (1, 2_560)), (30_000, 1, (2_560, 1))])
def test_extreme_shape_keeps_one_pixel(tmp_path: Path, width: int, height: int, expected: tuple[int, int]) -> None:
    picture = made(tmp_path, Image.new("RGB", (width, height)))
    assert isinstance(picture, Picture)
    assert (picture.width, picture.height) == expected


def test_rotated_picture_has_exchanged_sides(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = made(tmp_path, Image.new("RGB", (60, 20)), "JPEG", exif=exif)
    assert isinstance(picture, Picture)
    assert (picture.width, picture.height) == (20, 60)


def test_text_is_not_a_picture(tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(b"<svg/>")
    assert make_files(str(tmp_path / "upload"), str(tmp_path), LIMITS) is RefusalReason.UNSUPPORTED_TYPE


def test_cut_picture_is_broken(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.effect_noise((300, 300), 90).save(file, "JPEG")
    (tmp_path / "upload").write_bytes(file.getvalue()[:-2_000])
    assert make_files(str(tmp_path / "upload"), str(tmp_path), LIMITS) is RefusalReason.BROKEN


def test_large_header_is_refused_before_pixels_are_read(tmp_path: Path) -> None:
    head = bytearray(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    (tmp_path / "upload").write_bytes(bytes(head) + (40_000).to_bytes(4, "big") * 2 + b"\1\0\0\0\0")
    assert make_files(str(tmp_path / "upload"), str(tmp_path), LIMITS) is RefusalReason.TOO_MANY_PIXELS
