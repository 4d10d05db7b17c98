"""The connection to the Redis of the actions."""

from typing import Final

from redis.asyncio import Redis

from services.backbone.redis import connect
from services.consumers.settings import Settings

_TIMEOUT_S: Final = 5.0


def connect_actions(settings: Settings, *, timeout_s: float = _TIMEOUT_S) -> Redis:
    """Return a client that decodes responses. It connects at the first request.

    A request whose response is lost is sent again. So every script of the actions may run twice: the first run decides.
    """
    url = settings.actions_redis_url.get_secret_value()
    return connect(url, timeout_s=timeout_s, resend=True, text="strict")
