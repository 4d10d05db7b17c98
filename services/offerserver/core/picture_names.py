"""The names of pictures in the imageserver (services/imageserver/api.md)."""

import hashlib
from collections.abc import Collection, Iterable


def picture_key(url: str) -> str:
    """Return the key of a picture: the SHA-256 of its URL."""
    return hashlib.sha256(url.encode()).hexdigest()


def picture_path(url: str) -> str:
    """Return the path of a picture. Clients complete it with a host and a size."""
    return f"/assets/images/{picture_key(url)}"


def kept_images(urls: Iterable[str], images: Collection[str]) -> tuple[str, ...]:
    """Return those of the images of an offer that its feed still names, in the order of the feed."""
    return tuple(path for path in map(picture_path, urls) if path in images)
