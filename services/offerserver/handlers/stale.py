"""Removes the offers of importers whose last trusted run is too long ago: nobody knows whether they still hold."""

from collections.abc import Iterable

from services.backbone.logs import get_logger
from services.offerserver.core.changes import slices, stale_removals
from services.offerserver.core.importer import OfferSource
from services.offerserver.core.stale import stale_after_s
from services.offerserver.handlers.importing import ImportRunner
from services.offerserver.handlers.known_offers import known_offers

log = get_logger(__name__)


async def remove_stale(runner: ImportRunner, sources: Iterable[OfferSource], *, stale_days: float) -> int:
    """Remove stale offers. Return their number.

    A source whose run has not ended is left out: its offers may be confirmed just now. Raises what a run raises.
    """
    removed = 0
    for source in sources:
        state = await runner.store.state(source.name)
        limit_s = stale_after_s(source, stale_days)
        if state.alive_ms is None or runner.clock() - state.alive_ms <= 1000 * limit_s:
            continue
        async with runner.leases.hold(source.name) as lease:
            if lease is None:
                continue
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
        removed += len(stale)
    return removed
