import pytest
from PIL import Image, ImageCms

from services.imageserver.pixels.colours import normalise_mode, to_srgb

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("1", "RGB"), ("L", "L"), ("LA", "LA"), ("P", "RGB"), ("I;16", "L"), ("RGB", "RGB"), ("CMYK", "CMYK")],
)
def test_mode_can_be_resized(mode: str, expected: str) -> None:
    assert normalise_mode(Image.new(mode, (2, 2))).mode == expected


def test_sixteen_bits_are_scaled_to_eight() -> None:
    assert normalise_mode(Image.new("I;16", (1, 1), 65_535)).getpixel((0, 0)) == 255
    assert normalise_mode(Image.new("I;16", (1, 1), 32_768)).getpixel((0, 0)) == 128


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_transparent_colour_becomes_alpha(mode: str) -> None:
    image = Image.new(mode, (1, 1))
    image.info["transparency"] = (0, 0, 0) if mode == "RGB" else 0
    assert normalise_mode(image).getpixel((0, 0)) == (0, 0, 0, 0)


@pytest.mark.parametrize("profile", [None, b"", b"nonsense" * 50, SRGB, LAB, b"\0" * 5_000_000, "text"])
def test_useless_profile_changes_nothing(profile: object) -> None:
    assert to_srgb(Image.new("RGB", (1, 1), (10, 20, 30)), profile).getpixel((0, 0)) == (10, 20, 30)


def test_opaque_alpha_is_dropped() -> None:
    assert to_srgb(Image.new("RGBA", (1, 1), (10, 20, 30, 255)), None).mode == "RGB"
    assert to_srgb(Image.new("RGBA", (1, 1), (10, 20, 30, 254)), None).mode == "RGBA"
    assert to_srgb(Image.new("LA", (1, 1), (10, 0)), None).getpixel((0, 0)) == (10, 10, 10, 0)
