"""thumbor's pixels without HTTP: `python -m deploy.bench.references.thumbor_engine FILE SECONDS`.

It runs in the environment of thumbor, and does what thumbor does for /250x250/: decode, crop at the centre, reduce,
encode.
"""

import sys
from pathlib import Path
from typing import Any

from deploy.bench.repeating import repeat

_SIDE = 250
_QUALITY = 85


def make_square(context: Any, engine_class: Any, data: bytes) -> bytes:
    """Return the JPEG of one square, by the calls of thumbor.transformer.Transformer."""
    engine = engine_class(context)
    engine.load(data, ".jpg")
    engine.normalize()
    width, height = engine.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    engine.crop(left, top, left + side, top + side)
    engine.resize(_SIDE, _SIDE)
    made: bytes = engine.read(".jpg", _QUALITY)
    return made


def _main(picture: str, seconds: str) -> None:
    # Only the environment of thumbor has these.
    from thumbor.config import Config  # type: ignore[import-not-found]  # noqa: PLC0415
    from thumbor.context import Context  # type: ignore[import-not-found]  # noqa: PLC0415
    from thumbor.engines.pil import Engine  # type: ignore[import-not-found]  # noqa: PLC0415

    context = Context(config=Config(QUALITY=_QUALITY, PROGRESSIVE_JPEG=False))
    # thumbor reads the file for each request.
    repeat(lambda: make_square(context, Engine, Path(picture).read_bytes()), seconds=float(seconds))


if __name__ == "__main__":
    _main(*sys.argv[1:3])
