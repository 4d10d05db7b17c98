"""The cost of a picture, read from its bytes without decoding a pixel.

Pillow finds the sides of a picture too, but some costs lie before or beside that: a WebP file allocates its canvases
when it is opened, and no header has the number of scans of a JPEG or of frames of a GIF.
"""

import re
from typing import Final, Literal, NamedTuple

PictureFormat = Literal["JPEG", "PNG", "GIF", "WEBP", "AVIF"]
"""The formats that are accepted, by their names in Pillow."""

_MOST_COUNTED: Final = 10_000
"""Scans and frames are counted up to this number. It is over every limit."""
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_FRAME_HEADERS: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)})
_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_START_OF_SCAN: Final = 0xDA
_END_OF_IMAGE: Final = 0xD9
_NEXT_MARKER: Final = re.compile(rb"\xff([\x01-\xfe])")
_MARKER_AFTER_SCAN: Final = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
"""Compressed data may contain ff00 and the restart markers ffd0 to ffd7 (ITU-T T.81, B.1.1).

Any number of ff may stand before a marker. A pattern with `ff+` takes quadratic time for them.
"""


class PictureHeader(NamedTuple):
    """The facts about a picture that are known before it is decoded. A side is 0 if it is unknown or broken."""

    format: PictureFormat
    width: int = 0
    height: int = 0
    frames: int = 1
    scans: int = 1
    """The scans of a JPEG: 1 for a baseline one, about 10 for a progressive one."""
    coefficient_bytes: int = 0
    """The memory that a JPEG of several scans needs besides its pixels."""


def read_header(data: bytes) -> PictureHeader | None:
    """Return the header of a picture, or None if its first bytes are of no accepted format. Never raises."""
    if data.startswith(b"\xff\xd8\xff"):
        return _read_jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PictureHeader("PNG", _big(data[16:20]), _big(data[20:24]))
    if data.startswith((b"GIF87a", b"GIF89a")):
        return PictureHeader("GIF", _little(data[6:8]), _little(data[8:10]), frames=_count_gif_frames(data))
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return PictureHeader("WEBP", *_webp_canvas(data))
    if data[4:8] == b"ftyp" and _AVIF_BRANDS & {data[at : at + 4] for at in range(8, min(_big(data[:4]), 256), 4)}:
        return PictureHeader("AVIF")
    return None


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _read_jpeg(data: bytes) -> PictureHeader:
    """Walk the segments. Payloads are skipped, so the thumbnail in EXIF data is not counted."""
    width = height = scans = coefficients = at = 0
    marker = _NEXT_MARKER
    while (found := marker.search(data, at)) is not None and scans < _MOST_COUNTED:
        code, at, marker = found[1][0], found.end(), _NEXT_MARKER
        if code == _END_OF_IMAGE:
            break
        if code in _WITHOUT_LENGTH:
            continue
        payload = data[at + 2 : at + max(2, _big(data[at : at + 2]))]
        at += 2 + len(payload)
        if code in _FRAME_HEADERS:
            height, width = max(height, _big(payload[1:3])), max(width, _big(payload[3:5]))
            coefficients = max(coefficients, _coefficient_bytes(payload))
        elif code == _START_OF_SCAN:
            scans, marker = scans + 1, _MARKER_AFTER_SCAN
    return PictureHeader("JPEG", width, height, scans=max(1, scans), coefficient_bytes=coefficients)


def _coefficient_bytes(frame_header: bytes) -> int:
    """Return the size of all coefficients, 2 bytes each. A frame header has 3 bytes for each component (B.2.2)."""
    height, width = _big(frame_header[1:3]), _big(frame_header[3:5])
    factors = [divmod(factor, 16) for factor in frame_header[7::3]]
    widest, highest = max((h for h, _ in factors), default=0), max((v for _, v in factors), default=0)
    if not widest or not highest:
        return 0
    return sum(2 * width * height * h * v // (widest * highest) for h, v in factors)


def _count_gif_frames(data: bytes) -> int:
    """Count the image descriptors (GIF89a, section 20) by walking over the blocks."""
    flags = data[10] if len(data) > 10 else 0  # noqa: PLR2004 - the byte after the sides
    at, frames = 13 + _colour_table(flags), 0
    while at < len(data) and frames < _MOST_COUNTED:
        introducer = data[at]
        if introducer == 0x21:  # noqa: PLR2004 - an extension and its label
            at = _after_blocks(data, at + 2)
        elif introducer == 0x2C and at + 9 < len(data):  # noqa: PLR2004 - an image descriptor
            frames += 1
            at = _after_blocks(data, at + 10 + _colour_table(data[at + 9]) + 1)
        else:
            break
    return max(1, frames)


def _colour_table(flags: int) -> int:
    return 3 * 2 ** (flags % 8 + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return at + 1


def _webp_canvas(data: bytes) -> tuple[int, int]:
    """Return the sides of the canvas of an extended, a lossless or a lossy file (RFC 9649)."""
    kind, payload = data[12:16], data[20:30]
    if kind == b"VP8X":
        return _little(payload[4:7]) + 1, _little(payload[7:10]) + 1
    if kind == b"VP8L":
        bits = _little(payload[1:5])
        return bits % 2**14 + 1, bits // 2**14 % 2**14 + 1
    if kind == b"VP8 ":
        return _little(payload[6:8]) % 2**14, _little(payload[8:10]) % 2**14
    return 0, 0
