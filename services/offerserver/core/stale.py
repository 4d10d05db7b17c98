"""When the offers of an importer are stale."""

from typing import Final

from services.offerserver.core.importer import OfferSource

_DAY_S: Final = 86_400


def stale_after_s(source: OfferSource, stale_days: float) -> float:
    """Return the time without a trusted run after which the offers of a source are removed."""
    return stale_days * _DAY_S if source.stale_after_s is None else source.stale_after_s
