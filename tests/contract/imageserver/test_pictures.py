"""Stored pictures: upright, in sRGB, without metadata, for every upload."""

import io
import secrets
from typing import Any

import pytest
from PIL import Image, ImageCms, PngImagePlugin

from tests.contract.imageserver.profiles import display_p3, press
from tests.contract.imageserver.serving import ImageServer, difference, encoded, photo

ORIENTATION = 0x0112
# How a camera stores an upright picture, by the orientation that it writes: the inverse of the correction.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
ENCODERS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95},
    "PNG": {},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 95},
}


def corners(seed: int) -> Image.Image:
    """Return a picture with a different brightness in each corner, so that each orientation looks different."""
    image = photo(seed, 240, 160)
    for box, value in (((0, 0, 80, 60), 0), ((160, 0, 240, 60), 255), ((0, 100, 80, 160), 90)):
        image.paste((value, value, value), box)
    return image


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("orientation", STORED)
def test_picture_is_upright(server: ImageServer, orientation: int, encoder: str) -> None:
    upright = corners(orientation)
    transpose = STORED[orientation]
    camera = upright if transpose is None else upright.transpose(transpose)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = server.path_of(encoded(camera, encoder, exif=exif, **ENCODERS[encoder]))
    for accept in ("*/*", "image/webp"):
        found = server.picture(path, accept)
        assert found.size == upright.size
        assert difference(found, upright) < 10
    square = upright.crop((40, 0, 200, 160))
    assert difference(server.picture(f"{path}/thumb"), square) < 10


def test_display_p3_is_converted_to_srgb(server: ImageServer) -> None:
    # Display P3 (0.8, 0.2, 0.2) by the matrices of CSS Color 4.
    patch = Image.new("RGB", (64, 64), (204, 51, 51))
    path = server.path_of(encoded(patch, "PNG", icc_profile=display_p3()))
    for accept in ("*/*", "image/webp"):
        found = server.picture(path, accept).convert("RGB").getpixel((32, 32))
        assert isinstance(found, tuple)
        assert all(abs(a - b) <= 3 for a, b in zip(found, (222, 24, 41), strict=True)), found


@pytest.mark.parametrize(
    ("inks", "profile", "expected"),
    [
        # Without a profile each ink takes its share of the light: (255 - C) * (255 - K) / 255.
        ((0, 204, 153, 51), b"", (204, 41, 82)),
        ((255, 0, 0, 0), b"", (0, 255, 255)),
        ((255, 0, 0, 0), press(), (0, 120, 180)),
        ((0, 255, 0, 0), press(), (200, 40, 110)),
        ((0, 0, 0, 0), press(), (255, 255, 255)),
    ],
)
def test_cmyk_is_converted_to_srgb(
    server: ImageServer, inks: tuple[int, ...], profile: bytes, expected: tuple[int, ...]
) -> None:
    patch = Image.new("CMYK", (64, 64), inks)
    path = server.path_of(encoded(patch, quality=100, subsampling=0, icc_profile=profile))
    for accept in ("*/*", "image/webp"):
        found = server.picture(path, accept).convert("RGB").getpixel((32, 32))
        assert isinstance(found, tuple)
        assert all(abs(a - b) <= 3 for a, b in zip(found, expected, strict=True)), found


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [("I;16", 40_000, 156), ("1", 1, 255), ("L", 77, 77), ("LA", (77, 255), 77), ("RGBA", (77, 77, 77, 255), 77)],
)
def test_mode_of_a_png_keeps_its_brightness(server: ImageServer, mode: str, value: float, expected: int) -> None:
    unique = Image.new(mode, (64 + secrets.randbelow(200), 64), value)
    found = server.picture(server.path_of(encoded(unique, "PNG")))
    assert found.format == "JPEG"
    pixel = found.getpixel((32, 32))
    assert isinstance(pixel, tuple)
    assert max(abs(channel - expected) for channel in pixel) <= 1


def test_palette_with_transparency_stays_transparent(server: ImageServer) -> None:
    image = photo(2).quantize(16)
    path = server.path_of(encoded(image, "PNG", transparency=image.getpixel((0, 0))))
    found = server.picture(path)
    assert found.format == "PNG"
    assert found.convert("RGBA").getpixel((0, 0))[3] == 0  # type: ignore[index]


def test_animation_keeps_its_first_frame(server: ImageServer) -> None:
    frames = [photo(seed).quantize() for seed in range(3)]
    path = server.path_of(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    found = server.picture(path)
    assert getattr(found, "n_frames", 1) == 1
    assert difference(found, photo(0)) < 20


def metadata_everywhere(encoder: str, marker: bytes) -> bytes:
    """Return a picture with the marker in each place that an encoder of Pillow offers, and after its end."""
    text = marker.decode()
    exif = Image.Exif()
    exif[0x010E] = text  # description
    exif[0x0112] = 1
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 29: text})  # position
    options: dict[str, Any] = {"exif": exif, "xmp": marker}
    if encoder == "JPEG":
        options["comment"] = marker
    if encoder == "PNG":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_text("Comment", text)
        chunks.add_itxt("XML:com.adobe.xmp", text)
        options = {"exif": exif, "pnginfo": chunks}
    if encoder == "GIF":
        options = {"comment": marker}
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return encoded(photo(len(marker)), encoder, icc_profile=profile, **options) + b"<script>" + marker


@pytest.mark.parametrize("encoder", ["JPEG", "PNG", "GIF", "WEBP", "AVIF"])
def test_no_stored_file_has_metadata_or_uploaded_bytes(server: ImageServer, encoder: str) -> None:
    marker = secrets.token_hex(12).encode()
    content = metadata_everywhere(encoder, marker)
    assert content.count(marker) >= 2
    before = set(server.files())
    server.path_of(content)
    written = set(server.files()) - before
    assert len(written) == 8
    for path in written:
        stored = path.read_bytes()
        assert marker not in stored
        with Image.open(io.BytesIO(stored)) as image:
            image.load()
            assert not image.getexif()
            assert not image.info.keys() & {"exif", "icc_profile", "comment", "xmp", "XML:com.adobe.xmp", "dpi"}
