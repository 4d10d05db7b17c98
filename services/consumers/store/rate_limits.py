"""RateLimit: the requests to a provider that all workers together may send, counted in Redis."""

from typing import Final

from redis.asyncio import Redis

from services.backbone import names

_TAKE: Final = """
-- KEYS window, closed. ARGV cost, most in a window, ms of a window.
-- A PTTL can be 0 ms, but 0 is the result of a request that is counted.
local closed_ms = redis.call('PTTL', KEYS[2])
if closed_ms >= 0 then return math.max(1, closed_ms) end
local used = tonumber(redis.call('GET', KEYS[1]) or '0')
if used > 0 and used + tonumber(ARGV[1]) > tonumber(ARGV[2]) then
    return math.max(1, redis.call('PTTL', KEYS[1]))
end
redis.call('INCRBY', KEYS[1], ARGV[1])
if used == 0 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 0
"""
"""Count a request, or return the ms until there is room."""

_CLOSE: Final = """
-- KEYS closed. ARGV ms.
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], '1', 'PX', ARGV[1]) end
"""
"""Close a limit, unless it is closed for longer."""


class RateLimit:
    """A limit for each window of time. A window begins with its first request.

    Two windows can touch, so at most twice the limit is sent in the time of one. All methods raise RedisError.
    """

    def __init__(self, redis: Redis, provider: str, *, most: int, window_s: float) -> None:
        self._window = names.provider_limit_key(provider)
        self._closed = names.provider_closed_key(provider)
        self._most = most
        self._window_ms = round(1000 * window_s)
        self._take = redis.register_script(_TAKE)
        self._close = redis.register_script(_CLOSE)

    async def take(self, cost: int = 1) -> float:
        """Count a request of this cost. Return 0, or the seconds until there is room; then nothing was counted."""
        keys = [self._window, self._closed]
        return int(await self._take(keys=keys, args=(cost, self._most, self._window_ms))) / 1000

    async def close(self, for_s: float) -> None:
        """Permit no request for so long, because the provider rejects them. The count of the window stays."""
        await self._close(keys=[self._closed], args=(max(1, round(1000 * for_s)),))
