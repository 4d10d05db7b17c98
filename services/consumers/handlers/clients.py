"""ActionClients: what the handlers of actions call. Each process of a worker opens them once."""

import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.lock import Lock

from services.backbone import names
from services.backbone.clients import StorageClient
from services.backbone.outgoing import OutgoingClient
from services.consumers.providers.chat import ChatClient
from services.consumers.providers.geonames import GeonamesClient
from services.consumers.providers.requests import Provider
from services.consumers.settings import Settings
from services.consumers.store.rate_limits import RateLimit

_MOST_BODY_BYTES = 2_097_152
"""200 articles of GeoNames, with their summaries, take about 250 kB."""
_PROVIDER_TIMEOUT_S = 10.0
_LOCK_MARGIN_S = 5.0


class ActionClients(NamedTuple):
    """The clients of one process."""

    storage: StorageClient
    chat: ChatClient | None
    """None without the credentials of the chat provider."""
    geonames: GeonamesClient | None
    """None without a user name at GeoNames."""
    places_lock: Callable[[], Lock]
    """Makes a lock that one process has at a time. It ends by itself after the time limit of an action."""
    aclose: Callable[[], Coroutine[Any, Any, None]]
    """Closes the connections of all clients."""


async def open_clients(settings: Settings, redis: Redis) -> ActionClients:
    """Open the clients. They must be opened inside of the event loop that uses them."""
    password = settings.storage_password
    credentials = None if password is None else (settings.storage_user, password.get_secret_value())
    async with contextlib.AsyncExitStack() as stack:
        storage = await stack.enter_async_context(StorageClient(settings.storage_url, credentials=credentials))
        client = await stack.enter_async_context(
            OutgoingClient(
                timeout_s=_PROVIDER_TIMEOUT_S, max_body_bytes=_MOST_BODY_BYTES, allowed=settings.allowed_networks
            )
        )
        return ActionClients(
            storage=storage,
            chat=_chat(settings, client, redis),
            geonames=_geonames(settings, client, redis),
            places_lock=lambda: Lock(redis, names.PLACES_LOCK, timeout=settings.time_limit_s + _LOCK_MARGIN_S),
            aclose=stack.pop_all().aclose,
        )


def _chat(settings: Settings, client: OutgoingClient, redis: Redis) -> ChatClient | None:
    token = settings.sendbird_token.get_secret_value()
    if not settings.sendbird_app_id or not token:
        return None
    limit = RateLimit(redis, "chat", most=settings.chat_messages_per_s, window_s=1.0)
    url = settings.sendbird_url or f"https://api-{settings.sendbird_app_id}.sendbird.com/v3"
    return ChatClient(Provider("the chat provider", client, limit), url=url, token=token)


def _geonames(settings: Settings, client: OutgoingClient, redis: Redis) -> GeonamesClient | None:
    if not settings.geonames_user:
        return None
    limit = RateLimit(redis, "geonames", most=settings.geonames_credits_per_h, window_s=3600.0)
    return GeonamesClient(Provider("GeoNames", client, limit), url=settings.geonames_url, user=settings.geonames_user)
