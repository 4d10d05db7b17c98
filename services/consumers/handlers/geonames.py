"""geonames: looks the places of a search up, and has storage create an offer for each."""

import contextlib

from redis.exceptions import LockError

from services.backbone.clients import RequestRefused, ServiceUnavailable, StorageClient
from services.backbone.clock import clock_ms
from services.backbone.events import InvalidEvent
from services.backbone.logs import get_logger
from services.consumers.core.place_offers import OldPlaceOffer, box_around, geoid_of, nearest, plan_offers
from services.consumers.core.places import PLACES_OWNER, SearchPlaces
from services.consumers.handlers.clients import ActionClients
from services.consumers.providers.geonames import GeonamesClient

log = get_logger(__name__)


async def act(clients: ActionClients, arguments: SearchPlaces, action_id: str) -> None:
    """Create or change the offers of the nearest places. storage then sends the event `bud` of their owner."""
    if clients.geonames is None:
        raise ServiceUnavailable("the worker has no GEONAMES_USER")
    # Two searches of one area at a time would both create its offers. The handler waits for the lock, and not this
    # process: it is one of few, which run the actions of all handlers.
    lock = clients.places_lock()
    if not await lock.acquire(blocking=False):
        raise ServiceUnavailable("another search writes its offers", wait_s=1.0)
    try:
        await _write_places(clients.storage, clients.geonames, arguments, action_id)
    finally:
        with contextlib.suppress(LockError):  # it has ended by itself
            await lock.release()


async def _write_places(storage: StorageClient, geonames: GeonamesClient, search: SearchPlaces, action_id: str) -> None:
    try:
        places = nearest(await geonames.places(search), search.middle)
    except RequestRefused as error:  # anybody can send events with words that GeoNames rejects
        raise InvalidEvent(str(error)) from error
    if not places:
        return
    # The offers of these places are where the places are. The owner has more than fit into memory.
    box = box_around(places, search.middle)
    found = await storage.offers_in_box(PLACES_OWNER, **box._asdict())
    old = [OldPlaceOffer(each.id, geoid_of(each.extdata), each.valid_until_ms) for each in found]
    plan = plan_offers(search, places, old, now_ms=clock_ms())
    refused = await storage.write_offers(new=plan.new, changed=plan.changed, removed=plan.removed)
    if refused:
        log.warning("place_offers_refused", id=action_id, count=refused)
