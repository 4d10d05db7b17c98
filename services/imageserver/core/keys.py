"""The names of assets: ids, the keys of callers, and the numeric ids of the old system.

An id is the SHA-256 of the uploaded bytes. A key is 64 hexadecimal digits that a caller chooses, usually the SHA-256 of
the URL of a picture. The old system numbered its pictures, and stored paths have these numbers: they are read, and no
upload can choose one.
"""

import re
from typing import Final

_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


def is_digest(text: str) -> bool:
    """Return whether a name can be an id or the key of a caller."""
    return _DIGEST.fullmatch(text) is not None


def parse_key(text: str) -> str | None:
    """Return the form of a name in which it is stored: digits in lower case. None if it names nothing.

    64 decimal digits are a digest, not a number, as in the old system.
    """
    if is_digest(text):
        return text.lower()
    return text if _NUMBER.fullmatch(text) else None


def image_path(key: str) -> str:
    """Return the path of an asset, which clients store and complete with a size."""
    return f"/assets/images/{key}"
