"""RateLimit: the requests to a provider that all workers together may send, counted in Redis."""

from typing import Final

from redis.asyncio import Redis

from services.backbone import names

_TAKE: Final = """
-- KEYS window. ARGV cost, most in a window, ms of a window.
local used = tonumber(redis.call('GET', KEYS[1]) or '0')
if used > 0 and used + tonumber(ARGV[1]) > tonumber(ARGV[2]) then return redis.call('PTTL', KEYS[1]) end
redis.call('INCRBY', KEYS[1], ARGV[1])
if used == 0 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 0
"""
"""Count a request, or return the ms until the window ends."""


class RateLimit:
    """A limit for each window of time. A window begins with its first request.

    Two windows can touch, so at most twice the limit is sent in the time of one. All methods raise RedisError.
    """

    def __init__(self, redis: Redis, provider: str, *, most: int, window_s: float) -> None:
        self._redis = redis
        self._key = names.provider_limit_key(provider)
        self._most = most
        self._window_ms = round(1000 * window_s)
        self._take = redis.register_script(_TAKE)

    async def take(self, cost: int = 1) -> float:
        """Count a request of this cost. Return 0, or the seconds until there is room; then nothing was counted."""
        wait_ms = int(await self._take(keys=[self._key], args=(cost, self._most, self._window_ms)))
        return max(0.0, wait_ms / 1000)

    async def close(self, for_s: float) -> None:
        """Permit no request for so long, because the provider rejects them."""
        await self._redis.set(self._key, self._most, px=max(1, round(1000 * for_s)))
