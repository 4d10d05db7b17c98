"""ICC profiles for the tests, built from their definitions (ICC.1:2010)."""

import itertools
import struct
from collections.abc import Mapping

# The columns of the matrix to XYZ, adapted to D50, as Apple and the ICC publish them for Display P3: the primaries of
# SMPTE RP 431-2 with white D65.
_COLUMNS = {
    b"rXYZ": (0.51512, 0.24120, -0.00105),
    b"gXYZ": (0.29198, 0.69225, 0.04189),
    b"bXYZ": (0.15710, 0.06657, 0.78407),
}
_WHITE = (0.96420, 1.0, 0.82491)
# The curve of sRGB: gamma, a, b, c, d (parametric curve of type 3).
_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
# L*, a*, b* of each ink alone and of none, D50. All mixtures of inks are black.
_INKS: dict[tuple[int, ...], tuple[float, float, float]] = {
    (1, 0, 0, 0): (47.276, -11.439, -40.335),
    (0, 1, 0, 0): (46.066, 64.500, 1.412),
    (0, 0, 1, 0): (85.0, 0.0, 80.0),
    (0, 0, 0, 0): (100.0, 0.0, 0.0),
}


def _fixed(values: tuple[float, ...]) -> bytes:
    return b"".join(struct.pack(">i", round(65_536 * value)) for value in values)


def _text(text: str) -> bytes:
    data = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">III", 0, 1, 12) + b"enUS" + struct.pack(">II", len(data), 28) + data


def display_p3() -> bytes:
    """Return the bytes of a profile of Display P3."""
    tags = {name: b"XYZ \0\0\0\0" + _fixed(column) for name, column in _COLUMNS.items()}
    curve = b"para\0\0\0\0" + struct.pack(">HH", 3, 0) + _fixed(_CURVE)
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return _profile(b"\4\x30\0\0mntrRGB XYZ ", tags)


def press() -> bytes:
    """Return the bytes of a CMYK profile whose cyan is (0, 120, 180) in sRGB, and its magenta (200, 40, 110)."""
    table = b"mft2\0\0\0\0" + bytes([4, 3, 2, 0]) + _fixed((1, 0, 0, 0, 1, 0, 0, 0, 1)) + struct.pack(">HH", 2, 2)
    table += struct.pack(">HH", 0, 65_535) * 4
    for inks in itertools.product((0, 1), repeat=4):
        lightness, a, b = _INKS.get(inks, (0.0, 0.0, 0.0))
        table += struct.pack(">HHH", round(652.8 * lightness), round(256 * (a + 128)), round(256 * (b + 128)))
    table += struct.pack(">HH", 0, 65_535) * 3
    return _profile(b"\2\x40\0\0prtrCMYKLab ", {b"A2B0": table})


def _profile(kind: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    """Return a profile: its version, class, colour space and connection space, and its tags."""
    tags = {b"desc": _text("Test"), b"cprt": _text("none"), b"wtpt": b"XYZ \0\0\0\0" + _fixed(_WHITE), **tags}
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        padded = data + b"\0" * (-len(data) % 4)
        table += name + struct.pack(">II", at + len(body), len(data))
        body += padded
    head = struct.pack(">I4s", at + len(body), b"lcms") + kind + b"\0" * 12
    head += b"acsp" + b"\0" * 28 + _fixed(_WHITE)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
