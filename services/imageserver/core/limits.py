"""The limits on a picture that hold before a pixel of it is decoded.

The memory of a worker decides on the pixels. Measured per pixel with Pillow 13: JPEG 4 bytes, PNG and GIF 9 (RGBA, and
a copy with multiplied alpha for the resize), WebP 20 (libwebp keeps two canvases), AVIF 16.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from services.imageserver.core.headers import PictureFormat, PictureHeader
from services.imageserver.core.refusals import RefusalReason

DECODED_PIXELS: Final[Mapping[PictureFormat, int]] = MappingProxyType(
    {"JPEG": 25_000_000, "PNG": 25_000_000, "GIF": 25_000_000, "WEBP": 14_000_000, "AVIF": 16_000_000}
)
"""The most pixels that are decoded, for each accepted format: about 256 MB of memory."""
SAFE_PIXELS: Final = min(DECODED_PIXELS.values())
_MAX_COEFFICIENT_BYTES: Final = 160_000_000
"""A JPEG of several scans keeps all its coefficients, 2 bytes each, until the last scan."""
_MAX_SCANNED_PIXELS: Final = 400_000_000
"""Scans times pixels of a JPEG. libjpeg takes 4 to 10 ns for each; a file of 118 kB can have 550 scans."""
_MAX_SCANS: Final = 200


class PictureLimits(NamedTuple):
    """The limits that an operator can set."""

    max_bytes: int
    """The largest upload in bytes."""
    max_pixels: int
    """The most pixels of the header. A JPEG can be decoded at a half, a quarter or an eighth of its sides."""
    max_frames: int

    @property
    def safe_pixels(self) -> int:
        """The number of pixels that is allowed in each format."""
        return min(SAFE_PIXELS, self.max_pixels)


def sentence(reason: RefusalReason, limits: PictureLimits) -> str:
    """Return the sentence of a refusal, with the limits."""
    return reason.sentence.format(
        max_bytes=f"{limits.max_bytes:,}", safe_pixels=f"{limits.safe_pixels:,}", max_frames=f"{limits.max_frames:,}"
    )


def check_header(header: PictureHeader, limits: PictureLimits) -> RefusalReason | None:
    """Return why a picture must not be decoded, or None. JPEG draft mode is not known here: see `check_decoded`."""
    pixels = header.width * header.height
    if pixels == 0:
        return RefusalReason.BROKEN
    if pixels > limits.max_pixels or (header.format != "JPEG" and pixels > DECODED_PIXELS[header.format]):
        return RefusalReason.TOO_MANY_PIXELS
    if header.frames > limits.max_frames:
        return RefusalReason.TOO_MANY_FRAMES
    if header.scans > 1 and header.coefficient_bytes > _MAX_COEFFICIENT_BYTES:
        return RefusalReason.TOO_MANY_PIXELS
    if header.scans > _MAX_SCANS or header.scans * pixels > _MAX_SCANNED_PIXELS:
        return RefusalReason.TOO_MUCH_WORK
    return None


def check_decoded(picture_format: PictureFormat, width: int, height: int) -> RefusalReason | None:
    """Return why a picture of these sides must not be decoded, after draft mode has reduced them, or None."""
    return RefusalReason.TOO_MANY_PIXELS if width * height > DECODED_PIXELS[picture_format] else None
