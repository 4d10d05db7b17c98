"""The pictures of bench.images: seeded ones that cost a decoder and an encoder as much as photos of a phone do.

Real photos were the measure: as JPEG with quality 90 they had 2.1 to 3.2 bits a pixel, and their WebP with quality 80
had 0.7 to 0.8 of the bytes of a JPEG with quality 85. The pictures here have 2 bits and 0.74.
"""

import io
import math
import random
from collections.abc import Sequence
from typing import Final, NamedTuple, overload

from PIL import Image, ImageChops, ImageStat, JpegImagePlugin

_QUALITY: Final = 90
_SOFT_PX: Final = 32
"""The finest pattern where a picture is out of focus, such as in a sky."""
_COUNTER_DIGITS: Final = 16


def photo_jpeg(seed: int, width: int, height: int) -> bytes:
    """Return a JPEG with soft and detailed regions. With one version of Pillow, equal arguments return equal bytes."""
    draw = random.Random(seed)  # noqa: S311 - a seeded generator makes equal pictures
    size = (width, height)
    coarse = 1 << (max(size) // 2).bit_length()
    soft = _octaves(draw, size, coarse, _SOFT_PX, contrast=0.5, fall=0.6)
    fine = _octaves(draw, size, 16, 1, contrast=0.3, fall=0.85)
    regions = _octaves(draw, size, coarse // 4, _SOFT_PX, contrast=0.9, fall=0.5)
    steep = regions.point([max(0, min(255, 3 * (value - 120))) for value in range(256)])
    light = Image.composite(ImageChops.add(soft, fine, 1, -127), soft, steep)
    colours = [_octaves(draw, size, coarse, 16, contrast=0.25, fall=0.7) for _ in range(2)]
    encoded = io.BytesIO()
    Image.merge("YCbCr", (light, *colours)).convert("RGB").save(encoded, "JPEG", quality=_QUALITY)
    return encoded.getvalue()


def _octaves(  # noqa: PLR0913 - the parameters of the noise
    draw: random.Random, size: tuple[int, int], coarse: int, fine: int, *, contrast: float, fall: float
) -> Image.Image:
    """Return a plane of noise: patterns from `coarse` to `fine` pixels, each of `fall` times the contrast before it."""
    plane = Image.new("L", size, 128)
    while coarse >= fine:
        width, height = (-(-side // coarse) + 1 for side in size)
        grid = Image.frombytes("L", (width, height), draw.randbytes(width * height))
        grid = grid.point([round(contrast * (value - 127.5) + 127.5) for value in range(256)])
        plane = ImageChops.add(plane, grid.resize(size, Image.Resampling.BICUBIC), 1, -127)
        coarse //= 2
        contrast *= fall
    return plane


class UploadRequests(Sequence[bytes]):
    """Requests that upload one JPEG, each with another comment in it: other bytes, so that each is a new asset."""

    def __init__(self, jpeg: bytes, *, path: str, host: str) -> None:
        self._begin, self._rest = jpeg[:2], jpeg[2:]
        length = len(jpeg) + 4 + _COUNTER_DIGITS
        lines = [f"POST {path} HTTP/1.1", f"Host: {host}", "Content-Type: image/jpeg", f"Content-Length: {length}"]
        self._head = "\r\n".join([*lines, "", ""]).encode()
        self.sent = 0
        """The number of requests that were taken."""

    def __len__(self) -> int:
        return 2**31

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        """Return the next request. The index does not matter: no two requests are equal, also over several rounds."""
        if isinstance(index, slice):
            raise TypeError("requests are taken one by one")
        self.sent += 1
        segment = b"\xff\xfe" + (2 + _COUNTER_DIGITS).to_bytes(2) + f"{self.sent:0{_COUNTER_DIGITS}d}".encode()
        return b"".join((self._head, self._begin, segment, self._rest))


class JpegEncoding(NamedTuple):
    """How a JPEG was encoded. Equal encodings have equal sides, quality and resolution of colours."""

    width: int
    height: int
    tables: tuple[tuple[int, ...], ...]
    """The quantization tables, which are the quality."""
    sampling: int
    """The resolution of colours as in Pillow: 2 is 4:2:0."""


def encoding_of(jpeg: bytes) -> JpegEncoding:
    """Return how a JPEG was encoded. Raises OSError for other bytes."""
    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
        if not isinstance(image, JpegImagePlugin.JpegImageFile):
            raise OSError("not a JPEG")
        # Encoders write one table for all colours once or twice.
        tables = tuple(tuple(table) for _, table in sorted(image.quantization.items()))
        return JpegEncoding(image.width, image.height, tables[:2], JpegImagePlugin.get_sampling(image))


def psnr_db(first: bytes, second: bytes) -> float:
    """Return the peak signal-to-noise ratio of two pictures of equal sides, in dB. Equal pictures: infinity."""
    images = [Image.open(io.BytesIO(each)).convert("RGB") for each in (first, second)]
    squares = ImageStat.Stat(ImageChops.difference(*images)).sum2
    error = sum(squares) / (len(squares) * images[0].width * images[0].height)
    return 10 * math.log10(255**2 / error) if error else math.inf
