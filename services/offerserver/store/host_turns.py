"""RedisTurns: one request to a host at a time, of all processes, with a delay between two."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.backbone import names

_LOOK_S: Final = 0.1
_TAKE: Final = """
-- KEYS turn. ARGV token, ms.
if redis.call('GET', KEYS[1]) == ARGV[1] then return 1 end
return redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0
"""
"""A script that is sent again has the same turn."""
_END: Final = """
-- KEYS turn. ARGV token, ms of the delay.
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
"""
"""The key stays for the delay: nobody else begins in that time."""


class RedisTurns:
    """Turns of hosts. A turn whose process was killed ends after `longest_s`."""

    def __init__(self, redis: Redis, *, longest_s: float, wait_s: float) -> None:
        """Limit the wait for a turn to `wait_s`."""
        self._redis = redis
        self._longest_ms = round(1000 * longest_s)
        self._wait_s = wait_s
        self._take = redis.register_script(_TAKE)
        self._end = redis.register_script(_END)

    @contextlib.asynccontextmanager
    async def turn(self, origin: str, *, delay_s: float) -> AsyncIterator[None]:
        """Wait for the turn. Raises TimeoutError, or RedisError."""
        key, token = names.offers_host_key(origin), uuid.uuid4().hex
        async with asyncio.timeout(self._wait_s):
            while not await self._take(keys=[key], args=(token, self._longest_ms)):  # noqa: ASYNC110 - of a process
                await asyncio.sleep(_LOOK_S)
        try:
            yield
        finally:
            with contextlib.suppress(RedisError):  # the turn ends by itself
                await self._end(keys=[key], args=(token, max(1, round(1000 * delay_s))))
