"""Asset: a published picture, and its form in MongoDB."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from services.imageserver.core.sizes import ImageType, SizeName

FileSizes = Mapping[SizeName, Mapping[ImageType, int]]
"""The bytes of each representation."""
NAME_CHARACTERS: Final = 32


class Asset(NamedTuple):
    """A picture that is published: its files are complete on the volume."""

    id: str
    """The SHA-256 of the uploaded bytes."""
    name: str
    """The random name of its files. It is never used again, so a cache of the volume cannot have an old state of it."""
    keys: tuple[str, ...]
    """The keys of callers, besides the id."""
    files: FileSizes
    width: int
    """The sides of the original as it is stored."""
    height: int
    uploaded_format: str
    uploaded_bytes: int
    created_ms: int

    @property
    def stored_bytes(self) -> int:
        """The bytes of all files."""
        return sum(size for types in self.files.values() for size in types.values())


def file_name(name: str, size: SizeName, image_type: ImageType) -> str:
    """Return the path of a file below the root of the volume. The first two digits spread them over 256 directories."""
    return f"{name[:2]}/{name}.{size}.{image_type}"


def etag_of(asset: Asset, size: SizeName, image_type: ImageType) -> str:
    """Return the strong entity tag of a representation. The random name makes it different after each upload."""
    return f'"{asset.name}.{size}.{image_type}"'


def to_document(asset: Asset) -> dict[str, Any]:
    """Return the document of an asset. An asset without keys has no field `keys`: its index is partial."""
    document: dict[str, Any] = {
        "_id": asset.id,
        "name": asset.name,
        "files": {size: dict(types) for size, types in asset.files.items()},
        "width": asset.width,
        "height": asset.height,
        "format": asset.uploaded_format,
        "bytes": asset.uploaded_bytes,
        "stored": asset.stored_bytes,
        "created": asset.created_ms,
    }
    if asset.keys:
        document["keys"] = list(asset.keys)
    return document


def from_document(document: Mapping[str, Any]) -> Asset:
    """Return the asset of a document. Raises KeyError for a document of another form."""
    return Asset(
        id=document["_id"],
        name=document["name"],
        keys=tuple(document.get("keys", ())),
        files=document["files"],
        width=document["width"],
        height=document["height"],
        uploaded_format=document["format"],
        uploaded_bytes=document["bytes"],
        created_ms=document["created"],
    )
