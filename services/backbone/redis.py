"""The one place where Redis clients are created: their time limits, retries and text decoding."""

from typing import Any, Literal

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.maint_notifications import MaintNotificationsConfig


def connect(
    url: str, *, timeout_s: float, resend: bool = False, text: Literal["strict", "replace"] | None = None
) -> Redis:
    """Create a client. It connects at its first command, and again after each failure.

    Connecting and each command take `timeout_s` at most. `text` decodes responses from UTF-8, with this handling of
    invalid bytes; without it responses are bytes.

    A command whose connection is closed fails, because Redis may have run it: a push that is sent again would be stored
    twice. With `resend`, the client sends such a command once more, on a new connection. Set it only where every
    command may run twice: after a restart of Redis all pooled connections are closed, and no caller notices that.
    """
    options: dict[str, Any] = {} if text is None else {"decode_responses": True, "encoding_errors": text}
    return Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 1 if resend else 0, supported_errors=(RedisConnectionError,)),
        # Some servers announce maintenance. These notifications would arrive between responses.
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
        **options,
    )
