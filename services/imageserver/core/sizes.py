"""The sizes of an asset, and the encodings of each size."""

from typing import Final, Literal

SizeName = Literal["original", "thumb", "iconbigger", "icon"]
ImageType = Literal["jpg", "png", "webp"]

BOXES: Final[dict[SizeName, int]] = {"thumb": 250, "iconbigger": 60, "icon": 30}
"""The sides in pixels of the square sizes, the largest first. Each is made from the one before it."""
SIZES: Final[tuple[SizeName, ...]] = ("original", *BOXES)
LONGEST_SIDE: Final = 2_560
"""The longest side of an original in pixels. A larger upload is reduced, a smaller one keeps its size."""
MEDIA_TYPES: Final[dict[ImageType, str]] = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


def parse_size(text: str) -> SizeName | None:
    """Return the size of a path; None if there is no such size."""
    return next((size for size in SIZES if size == text), None)


def fitted(width: int, height: int, longest: int = LONGEST_SIDE) -> tuple[int, int]:
    """Return the sides of a picture that is reduced until no side is over `longest` pixels. Each is at least 1."""
    scale = min(1.0, longest / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def centre_square(width: int, height: int) -> tuple[float, float, float, float]:
    """Return the largest square in the middle of a picture: left, top, right, bottom."""
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side
