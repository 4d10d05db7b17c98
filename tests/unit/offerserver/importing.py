"""Sources, drafts and offers for the tests of the importers."""

from collections.abc import Iterable
from typing import Any

from services.offerserver.core.changes import KnownOffer
from services.offerserver.core.drafts import AreaBox, Draft, Parsed
from services.offerserver.core.fingerprints import fingerprint
from services.offerserver.core.importer import OfferSource

BERLIN = AreaBox(52.3, 13.0, 52.7, 13.8)
NOW_MS = 1_790_000_000_000


def source(**changes: Any) -> OfferSource:
    values: dict[str, Any] = {
        "name": "libraries",
        "purpose": "Imports libraries.",
        "owner": "Libraries",
        "keywords": ("#all", "#library"),
        "schedule": "10 * * * *",
        "licence": "CC0-1.0",
        "attribution": "A city",
        "box": BERLIN,
    }
    return OfferSource(**(values | changes))


def draft(number: int = 1, **changes: Any) -> Draft:
    values: dict[str, Any] = {
        "id": f"id-{number}",
        "text": f"Library {number}",
        "latitude": 52.5 + number / 100_000,
        "longitude": 13.4,
    }
    return Draft(**(values | changes))


def drafts(numbers: Iterable[int]) -> tuple[Draft, ...]:
    return tuple(draft(number) for number in numbers)


def parsed(*found: Draft, **changes: Any) -> Parsed:
    return Parsed(drafts=found, **changes)


def known(item: Draft, number: int = 1, **changes: Any) -> KnownOffer:
    """Return what storage has after the draft was imported."""
    values: dict[str, Any] = {
        "offer_id": f"{number:024x}",
        "source_id": item.id,
        "fingerprint": fingerprint(item, source()),
        "valid_until_ms": item.valid_until_ms,
    }
    return KnownOffer(**(values | changes))
