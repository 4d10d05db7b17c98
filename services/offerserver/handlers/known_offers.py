"""The offers that storage has of an importer."""

from typing import Final

from services.backbone.clients import StorageClient
from services.offerserver.core.changes import KnownOffer
from services.offerserver.core.fingerprints import CONTENT_HASH, MATCH_HASH, SOURCE_ID, stored_fingerprint

_NAMES: Final = (SOURCE_ID, MATCH_HASH, CONTENT_HASH)


async def known_offers(storage: StorageClient, owner: str) -> list[KnownOffer]:
    """Return ids, hashes and pictures of all offers of an owner. Raises ServiceUnavailable or RequestRefused.

    An offer whose id is no text was not made by an importer of ours, as those of the old system with numbers.
    """
    return [
        KnownOffer(
            offer.id,
            source_id if isinstance(source_id := offer.extdata.get(SOURCE_ID), str) else "",
            stored_fingerprint(offer.extdata),
            offer.valid_until_ms,
            tuple(path for path in offer.images if path),
        )
        for offer in await storage.offer_extdata(owner, _NAMES)
    ]
