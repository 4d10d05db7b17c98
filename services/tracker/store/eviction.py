"""Check that Redis never evicts events.

A Redis with an eviction policy may delete events that already got a 2xx response. The policy may change while Redis
runs, and another Redis may take over an address. So the policy is checked before the first push, after each failure,
and regularly by readiness.
"""

import time
from typing import Final

from redis.asyncio import Redis

from services.backbone.queue import refuse_eviction

# For this time, all readiness checks use the same result.
_RECHECK_S: Final = 1.0


class EvictionGuard:
    """Checks that Redis keeps all events, and stores the result."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._checked_at_s = 0.0
        self.is_safe = False
        """Whether the last check has passed and no failure followed."""

    def reset(self) -> None:
        """Require a new check, after a failure."""
        self.is_safe = False

    async def ensure(self) -> None:
        """Check the policy unless it is known to be safe. Raises EvictionAllowed and the errors of the client."""
        if not self.is_safe:
            await refuse_eviction(self._redis)
            self.is_safe = True

    async def recheck(self) -> None:
        """Check the policy again, at most once a second. Raises EvictionAllowed and the errors of the client."""
        now_s = time.monotonic()
        if now_s - self._checked_at_s < _RECHECK_S:
            return
        await refuse_eviction(self._redis)
        self._checked_at_s = now_s
