"""Uploads that attack a decoder: mutations of good pictures, bombs, and files that are no pictures. All are seeded."""

import random
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from PIL import Image

from tests.contract.imageserver.serving import encoded, photo

SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><html><script>alert(1)</script></html>"


def samples() -> list[bytes]:
    """Return 30 good pictures, of every format and mode."""
    sides = ((64, 48), (200, 150), (33, 77))
    found = []
    for number, (width, height) in enumerate(sides):
        rgb = photo(number, width, height)
        rgba = rgb.convert("RGBA")
        rgba.putalpha(photo(number + 9, width, height, "L"))
        frames: dict[str, Any] = {"save_all": True, "append_images": [photo(5, width, height)]}
        found += [
            encoded(rgb),
            encoded(rgb, progressive=True),
            encoded(rgb.convert("CMYK")),
            encoded(rgb, "PNG"),
            encoded(rgba, "PNG"),
            encoded(rgb.quantize(32), "PNG"),
            encoded(rgb.quantize(), "GIF", save_all=True, append_images=[photo(6, width, height).quantize()]),
            encoded(rgba, "WEBP"),
            encoded(rgb, "WEBP", **frames),
            encoded(rgba, "AVIF"),
        ]
    return found


def mutations(count: int, seed: int) -> Iterator[bytes]:
    """Yield damaged pictures: flipped bits, cuts, repeated and swapped pieces, and inserted bytes."""
    draw, good = random.Random(seed), samples()
    for _ in range(count):
        data = bytearray(draw.choice(good))
        for _ in range(draw.randint(1, 4)):
            at, length = draw.randrange(len(data)), draw.randint(1, 40)
            match draw.randrange(5):
                case 0:
                    for _ in range(draw.randint(1, 20)):
                        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
                case 1:
                    del data[max(20, at) :]
                case 2:
                    data[at:at] = data[at : at + length] * draw.randint(1, 30)
                case 3:
                    other = draw.randrange(len(data))
                    data[at : at + length], data[other : other + length] = (
                        data[other : other + length],
                        data[at : at + length],
                    )
                case _:
                    data[at:at] = draw.randbytes(length)
        yield bytes(data)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bomb(side: int = 40_000) -> bytes:
    """Return a PNG of few bytes and many pixels."""
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    packed = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    data = b"".join(packed.compress(row) for _ in range(side)) + packed.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """Return a small PNG with texts that are 1,000 times as large when they are decompressed."""
    good = encoded(photo(1, 32, 32), "PNG")
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1_000_000), 9))
    return good[:33] + text * 200 + good[33:]


def gif_bomb(frames: int = 10_000) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", 64, 64, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 64, 64, 0) + b"\2\2\x4c\1\0"
    return head + frame * frames + b";"


def webp_bomb(frames: int = 10_000) -> bytes:
    good = encoded(photo(1, 16, 16), "WEBP")[12:]
    head = b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + (15).to_bytes(3, "little") * 2
    head += b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    payload = b"\0" * 6 + (15).to_bytes(3, "little") * 2 + b"\1\0\0\0" + good
    frame = b"ANMF" + struct.pack("<I", len(payload)) + payload
    body = b"WEBP" + head + frame * frames
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg_of_scans(scans: int, side: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated."""
    good = encoded(Image.new("L", (side, side), 90), progressive=True)
    start = good.rindex(b"\xff\xda")
    return good[:start] + good[start:-2] * scans + b"\xff\xd9"


def large_progressive_jpeg(side: int = 10_000) -> bytes:
    return encoded(Image.new("L", (side, side), 90), progressive=True)


def polyglot() -> bytes:
    """Return a JPEG with HTML in a comment and an archive after its end."""
    return encoded(photo(3), comment=HTML) + b"PK\3\4" + HTML


def broken_metadata() -> bytes:
    return encoded(photo(4), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\xff" * 50, icc_profile=b"nonsense" * 40)


def odd_files() -> dict[str, bytes]:
    """Return files by what is odd. The first letter of a name: `g` is a good picture, `b` must be refused."""
    rgba_wide = Image.new("RGBA", (1, 30_000), (1, 2, 3, 40))
    return {
        "b empty": b"",
        "b svg": SVG,
        "b html": HTML,
        "b text after magic": b"\xff\xd8\xff" + HTML,
        "b png of 1.6 billion pixels": png_bomb(),
        "b png of texts": text_bomb(),
        "b gif of 10,000 frames": gif_bomb(),
        "b webp of 10,000 frames": webp_bomb(),
        "b jpeg of 550 scans": jpeg_of_scans(550, 2_000),
        "b jpeg of 5,000 scans": jpeg_of_scans(5_000, 64),
        "b progressive jpeg of 100 MP": large_progressive_jpeg(),
        "b avif of 40 MP": encoded(Image.new("L", (8_000, 5_000), 90), "AVIF", speed=10),
        "b webp of 40 MP": encoded(Image.new("L", (8_000, 5_000), 90), "WEBP", method=0),
        "b tiff": encoded(photo(1), "TIFF"),
        "b bmp": encoded(photo(1), "BMP"),
        "g 1x1": encoded(Image.new("RGB", (1, 1)), "PNG"),
        "g 1x30000": encoded(rgba_wide, "PNG"),
        "g 1 bit": encoded(Image.new("1", (50, 50), 1), "PNG"),
        "g 16 bits": encoded(Image.new("I;16", (50, 50), 30_000), "PNG"),
        "g palette": encoded(photo(2).quantize(16), "PNG", transparency=3),
        "g cmyk": encoded(photo(2).convert("CMYK")),
        "g polyglot": polyglot(),
        "g broken metadata": broken_metadata(),
        "g png of 24 MP": encoded(Image.new("RGBA", (6_000, 4_000), (9, 9, 9, 9)), "PNG"),
        "g jpeg of 48 MP": encoded(Image.new("RGB", (8_000, 6_000), (9, 90, 9))),
        "g progressive jpeg of 35 MP": encoded(Image.new("RGB", (7_000, 5_000), (9, 90, 9)), progressive=True),
        "g webp of 13 MP": encoded(Image.new("RGBA", (3_700, 3_700), (9, 9, 9, 9)), "WEBP", method=0),
        "g avif of 15 MP": encoded(Image.new("RGBA", (4_000, 3_900), (9, 9, 9, 9)), "AVIF", speed=10),
    }
