"""The Redis of the actions, for the operators' tasks."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from deploy.errors import OperatorError
from deploy.operate.endpoints import DOES_IT_RUN, Endpoints, without_password
from services.backbone.redis import connect

_REDIS_TIMEOUT_S: Final = 5.0


def connect_actions(endpoints: Endpoints) -> Redis:
    """Return a client that decodes responses. It connects at the first request."""
    return connect(endpoints.actions_url, timeout_s=_REDIS_TIMEOUT_S, resend=True, text="strict")


@contextlib.asynccontextmanager
async def open_actions(endpoints: Endpoints) -> AsyncIterator[Redis]:
    """Open a client. A RedisError inside the block becomes an OperatorError with the address."""
    async with contextlib.aclosing(connect_actions(endpoints)) as redis:
        try:
            yield redis
        except RedisError as error:
            address = without_password(endpoints.actions_url)
            raise OperatorError(
                f"the Redis of the actions ({address}) does not respond: {error}\n{DOES_IT_RUN}"
            ) from None
