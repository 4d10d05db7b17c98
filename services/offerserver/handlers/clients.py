"""Opens what a run needs."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

from services.backbone.clients import StorageClient
from services.backbone.clock import clock_ms
from services.backbone.outgoing import OutgoingClient
from services.offerserver.core.importer import ImportArea
from services.offerserver.handlers.importing import WRITE_LIMIT_S, ImportRunner
from services.offerserver.providers.fetching import FeedFetcher, FetchLimits
from services.offerserver.settings import Settings
from services.offerserver.store.connection import connect_offers
from services.offerserver.store.host_turns import RedisTurns
from services.offerserver.store.leases import RunLeases
from services.offerserver.store.runs import RunStore

_CONNECT_S: Final = 10.0
_READ_S: Final = 20.0
_TURN_MARGIN_S: Final = 5.0


@contextlib.asynccontextmanager
async def open_runner(settings: Settings) -> AsyncIterator[ImportRunner]:
    """Yield a runner. Its clients are closed in reverse order."""
    password = settings.storage_password
    credentials = None if password is None else (settings.storage_user, password.get_secret_value())
    redis = connect_offers(settings)
    async with (
        contextlib.aclosing(redis),
        StorageClient(settings.storage_url, credentials=credentials, timeout_s=WRITE_LIMIT_S) as storage,
        OutgoingClient(
            timeout_s=settings.request_s,
            connect_timeout_s=_CONNECT_S,
            read_timeout_s=_READ_S,
            allowed=settings.allowed_networks,
        ) as outgoing,
    ):
        turn_s = settings.request_s + _TURN_MARGIN_S
        fetcher = FeedFetcher(
            outgoing,
            RedisTurns(redis, longest_s=turn_s, wait_s=settings.run_limit_s / 2),
            user_agent=settings.user_agent,
            delay_s=settings.host_delay_s,
            limits=FetchLimits(settings.max_body_bytes),
        )
        area = ImportArea(*settings.area)
        yield ImportRunner(RunStore(redis), RunLeases(redis), storage, fetcher, area=area, clock=clock_ms)
