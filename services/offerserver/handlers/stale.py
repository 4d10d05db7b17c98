"""Removes the offers of importers whose last trusted run is too long ago: nobody knows whether they still hold."""

from collections.abc import Iterable

from services.backbone.clients import RequestRefused, ServiceUnavailable
from services.backbone.logs import get_logger
from services.offerserver.core.changes import slices, stale_removals
from services.offerserver.core.importer import OfferSource
from services.offerserver.core.stale import stale_after_s
from services.offerserver.handlers.importing import ImportRunner
from services.offerserver.handlers.known_offers import known_offers
from services.offerserver.store.leases import LeaseLost

log = get_logger(__name__)


class StaleOffersRemain(Exception):
    """The stale offers of some importers could not be removed. The message has their names and the reasons."""


async def remove_stale(runner: ImportRunner, sources: Iterable[OfferSource], *, stale_days: float) -> int:
    """Remove stale offers. Return their number.

    A source whose run has not ended is left out: its offers may be confirmed just now. Raises StaleOffersRemain after
    those of all other sources were removed; RedisError at once.
    """
    removed, failures = 0, []
    for source in sources:
        try:
            removed += await _remove(runner, source, limit_s=stale_after_s(source, stale_days))
        except (ServiceUnavailable, RequestRefused, LeaseLost) as error:
            log.warning("stale_offers_remain", importer=source.name, reason=str(error))
            failures.append(f"{source.name}: {error}")
    if failures:
        raise StaleOffersRemain(f"{'; '.join(failures)} (removed {removed} of others)")
    return removed


async def _remove(runner: ImportRunner, source: OfferSource, *, limit_s: float) -> int:
    state = await runner.store.state(source.name)
    if state.alive_ms is None or runner.clock() - state.alive_ms <= 1000 * limit_s:
        return 0
    async with runner.leases.hold(source.name) as lease:
        if lease is None:
            return 0
        # Again: a run may have ended since.
        alive_ms = (await runner.store.state(source.name)).alive_ms or runner.clock()
        known = await known_offers(runner.storage, source.owner)
        stale = stale_removals(known, trusted_ms=alive_ms, now_ms=runner.clock(), stale_after_s=limit_s)
        for part in slices(stale):
            until_ms = await lease.check()
            ids = [each.offer_id for each in part]
            await runner.storage.write_offers(removed=ids, event="none", until_ms=until_ms)
    if stale:
        log.error("offers_stale", importer=source.name, removed=len(stale))
    return len(stale)
