"""Opens what a run needs."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

from services.backbone.clients import ImageClient, StorageClient
from services.backbone.clock import clock_ms
from services.backbone.outgoing import OutgoingClient
from services.offerserver.core.importer import ImportArea
from services.offerserver.handlers.importing import WRITE_LIMIT_S, ImportRunner
from services.offerserver.handlers.pictures import PictureLoader
from services.offerserver.providers.fetching import FeedFetcher, FetchLimits
from services.offerserver.providers.pictures import PictureFetcher
from services.offerserver.settings import Settings
from services.offerserver.store.connection import connect_offers
from services.offerserver.store.host_turns import RedisTurns
from services.offerserver.store.leases import RunLeases
from services.offerserver.store.runs import RunStore

_CONNECT_S: Final = 10.0
_READ_S: Final = 20.0
_TURN_MARGIN_S: Final = 5.0
_PICTURES_PART: Final = 3
"""Pictures take at most this part of the time of a run. Feed and offers have the rest."""


@contextlib.asynccontextmanager
async def open_runner(settings: Settings) -> AsyncIterator[ImportRunner]:
    """Yield a runner. Its clients are closed in reverse order."""
    redis = connect_offers(settings)
    async with (
        contextlib.aclosing(redis),
        open_storage(settings) as storage,
        OutgoingClient(
            timeout_s=settings.request_s,
            connect_timeout_s=_CONNECT_S,
            read_timeout_s=_READ_S,
            allowed=settings.allowed_networks,
        ) as outgoing,
        contextlib.AsyncExitStack() as parts,
    ):
        # Without a contact nothing is fetched, also for a feed that is read from a file.
        has_pictures = bool(settings.imageserver_url and settings.contact)
        images = await parts.enter_async_context(open_images(settings)) if has_pictures else None
        turn_s = settings.request_s + _TURN_MARGIN_S
        turns = RedisTurns(redis, longest_s=turn_s, wait_s=settings.run_limit_s / 2)
        fetcher = FeedFetcher(
            outgoing,
            turns,
            user_agent=settings.user_agent,
            delay_s=settings.host_delay_s,
            limits=FetchLimits(settings.max_body_bytes),
            stand_in_url=settings.stand_in_url,
        )
        pictures = PictureFetcher(
            outgoing,
            turns,
            user_agent=settings.user_agent,
            delay_s=settings.host_delay_s,
            max_bytes=settings.max_body_bytes,
        )
        longest_s = settings.run_limit_s / _PICTURES_PART
        yield ImportRunner(
            RunStore(redis),
            RunLeases(redis),
            storage,
            fetcher,
            area=ImportArea(*settings.area),
            clock=clock_ms,
            stale_days=settings.stale_days,
            pictures=None if images is None else PictureLoader(pictures, images, longest_s=longest_s),
        )


def open_storage(settings: Settings) -> StorageClient:
    """Return a client of storage, which must be entered."""
    password = settings.storage_password
    credentials = None if password is None else (settings.storage_user, password.get_secret_value())
    return StorageClient(settings.storage_url, credentials=credentials, timeout_s=WRITE_LIMIT_S)


def open_images(settings: Settings) -> ImageClient:
    """Return a client of the imageserver, which must be entered. Raises ValueError without `imageserver_url`."""
    if settings.imageserver_url is None:
        raise ValueError("OFFERS_IMAGESERVER_URL is not set")
    password = settings.imageserver_password
    credentials = None if password is None else (settings.imageserver_user, password.get_secret_value())
    return ImageClient(settings.imageserver_url, credentials=credentials)
