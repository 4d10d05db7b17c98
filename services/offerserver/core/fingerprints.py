"""Fingerprints: the two hashes that decide whether an offer has changed, and whether anybody has to know.

Both are stored in the `extdata` of the offer, so storage is the only place that knows what was imported. *Match* covers
what the rule of matching reads: place, radius, keywords, validity. *Content* covers the rest.
Each has two halves. The first halves, of the point and of the title, recognise an item whose source gave it another id.
They do not cover the id itself.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from services.offerserver.core.drafts import Draft
from services.offerserver.core.importer import OfferSource

MATCH_HASH: Final = "match_hash"
CONTENT_HASH: Final = "content_hash"
SOURCE_ID: Final = "id"
"""The names in `extdata`."""
_HALF_BYTES: Final = 6
"""48 bits: of 100,000 items, two have one half with a probability of 1 in 50,000."""
_PLACES: Final = 6
"""Digits of a degree: 0.1 m."""


class Fingerprint(NamedTuple):
    """The hashes of an item."""

    match: str
    content: str

    @property
    def appearance(self) -> tuple[str, str]:
        """What a person sees of an item: the hashes of its point and its title."""
        return self.match.partition("-")[0], self.content.partition("-")[0]


def fingerprint(draft: Draft, source: OfferSource) -> Fingerprint:
    """Return the hashes of a draft with what its source adds.

    The order of keys, the order and the case of keywords, and the amount of whitespace in texts have no effect.
    """
    point = [round(draft.latitude, _PLACES), round(draft.longitude, _PLACES)]
    keywords = sorted({keyword.casefold().strip() for keyword in (*source.keywords, *draft.keywords)})
    radius_m = source.radius_m if draft.radius_m is None else draft.radius_m
    rule = [radius_m, keywords, draft.valid_from_ms, draft.valid_until_ms]
    rest = [draft.place, draft.extdata, draft.image_urls, source.licence, source.attribution]
    return Fingerprint(f"{_half(point)}-{_half(rule)}", f"{_half(draft.text)}-{_half(rest)}")


def stored_fingerprint(extdata: Mapping[str, Any]) -> Fingerprint:
    """Return the hashes that `extdata` of an offer has. Missing ones are empty, and equal no hash."""
    return Fingerprint(_text(extdata.get(MATCH_HASH)), _text(extdata.get(CONTENT_HASH)))


def id_of_parts(*parts: object) -> str:
    """Return the id of an item whose source has none: a hash of what identifies it, such as its title and place."""
    return hashlib.blake2b(_canonical(list(parts)), digest_size=2 * _HALF_BYTES).hexdigest()


def _half(value: object) -> str:
    return hashlib.blake2b(_canonical(value), digest_size=_HALF_BYTES).hexdigest()


def _canonical(value: object) -> bytes:
    return msgspec.json.encode(_collapsed(value), order="sorted")


def _collapsed(value: Any) -> Any:
    """Return a value with its whitespace collapsed, and with whole numbers in one form: 1.0 is 1."""
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _collapsed(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_collapsed(each) for each in value]
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
