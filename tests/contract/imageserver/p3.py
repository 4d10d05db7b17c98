"""A Display P3 profile, built from its definition (ICC.1:2010, and the primaries of SMPTE RP 431-2 with white D65)."""

import struct

# The columns of the matrix to XYZ, adapted to D50, as Apple and the ICC publish them for Display P3.
_COLUMNS = {
    b"rXYZ": (0.51512, 0.24120, -0.00105),
    b"gXYZ": (0.29198, 0.69225, 0.04189),
    b"bXYZ": (0.15710, 0.06657, 0.78407),
}
_WHITE = (0.96420, 1.0, 0.82491)
# The curve of sRGB: gamma, a, b, c, d (parametric curve of type 3).
_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def _fixed(values: tuple[float, ...]) -> bytes:
    return b"".join(struct.pack(">i", round(65_536 * value)) for value in values)


def _text(text: str) -> bytes:
    data = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">III", 0, 1, 12) + b"enUS" + struct.pack(">II", len(data), 28) + data


def display_p3() -> bytes:
    """Return the bytes of the profile."""
    tags = {b"desc": _text("Display P3"), b"cprt": _text("none"), b"wtpt": b"XYZ \0\0\0\0" + _fixed(_WHITE)}
    tags |= {name: b"XYZ \0\0\0\0" + _fixed(column) for name, column in _COLUMNS.items()}
    curve = b"para\0\0\0\0" + struct.pack(">HH", 3, 0) + _fixed(_CURVE)
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        padded = data + b"\0" * (-len(data) % 4)
        table += name + struct.pack(">II", at + len(body), len(data))
        body += padded
    size = at + len(body)
    head = struct.pack(">I4s4s4s4s4s", size, b"lcms", b"\4\x30\0\0", b"mntr", b"RGB ", b"XYZ ") + b"\0" * 12
    head += b"acsp" + b"\0" * 28 + _fixed(_WHITE)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
