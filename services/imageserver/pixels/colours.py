"""Convert a decoded picture to sRGB: RGB, or RGBA if a pixel is transparent."""

import io
from typing import Final

from PIL import Image, ImageCms

_MAX_PROFILE_BYTES: Final = 4_000_000
"""Profiles of printers have 0.5 to 2.5 MB."""
_SPACES: Final = {"RGB ": ("RGB", "RGBA"), "GRAY": ("L",), "CMYK": ("CMYK",)}
"""The modes of Pillow that a profile of a colour space describes."""


def normalise_mode(image: Image.Image) -> Image.Image:
    """Return the picture in a mode that can be resized: L, LA, RGB, RGBA or CMYK. May raise any exception."""
    if image.mode.startswith("I"):  # 16 bits of grey; `convert` would cut them off at 255
        return image.point(lambda value: value / 256).convert("L")
    if image.mode in ("L", "LA", "RGB", "RGBA", "CMYK") and not _has_transparent_colour(image):
        return image
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _has_transparent_colour(image: Image.Image) -> bool:
    return image.mode in ("L", "RGB") and image.has_transparency_data


def to_srgb(image: Image.Image, profile: object) -> Image.Image:
    """Return the picture in sRGB. `profile` is its ICC profile; a broken one, or one of another mode, is ignored."""
    image = _apply_profile(image, profile) if isinstance(profile, bytes) else image
    if image.mode in ("RGBA", "LA"):
        image = image.convert("RGBA")
        opaque = image.getchannel("A").getextrema()[0] == 255  # noqa: PLR2004 - the largest alpha
        return image.convert("RGB") if opaque else image
    return image if image.mode == "RGB" else image.convert("RGB")


def _apply_profile(image: Image.Image, profile: bytes) -> Image.Image:
    if len(profile) > _MAX_PROFILE_BYTES:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        modes = _SPACES.get(source.profile.xcolor_space, ())
        if image.mode not in modes or ImageCms.getProfileDescription(source).startswith("sRGB"):
            return image
        target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        mode = image.mode if image.mode == "RGBA" else "RGB"
        converted = ImageCms.profileToProfile(image, source, target, outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image
    return image if converted is None else converted
