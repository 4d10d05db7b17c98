"""Which representation of a size a client gets, by its Accept header (RFC 9110, section 12.5.1)."""

from collections.abc import Collection
from typing import Final

from services.imageserver.core.sizes import ImageType

_MAX_CHARACTERS: Final = 1_000


def choose_type(accept: str, stored: Collection[ImageType]) -> ImageType:
    """Return WebP if the header names it and prefers nothing else that is stored, else JPEG or PNG.

    A wildcard does not mean WebP: clients that send only `*/*` often cannot read it. A header that allows none of the
    stored types gets JPEG or PNG too, because a picture is more useful than a 406.
    """
    base: ImageType = "png" if "png" in stored else "jpg"
    weights = _weights(accept[:_MAX_CHARACTERS])
    webp = weights.get("image/webp", 0.0)
    named = "image/png" if base == "png" else "image/jpeg"
    return "webp" if "webp" in stored and webp > 0 and webp >= weights.get(named, 0.0) else base


def _weights(accept: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for item in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in item.split(";"))
        quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        try:
            weights[media_type] = float(quality)
        except ValueError:
            weights[media_type] = 0.0
    return weights
