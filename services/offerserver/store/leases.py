"""RunLeases: one run of an importer at a time, with a lease and a number."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.backbone import names
from services.backbone.backoff import Backoff, retried
from services.backbone.clock import clock_ms
from services.backbone.logs import get_logger
from services.backbone.redis_outages import RedisOutages

log = get_logger(__name__)

LEASE_S: Final = 90.0
"""A run of a killed process is over after this time. A write to storage must end within it."""
_RENEWALS: Final = 4
"""Renewals within a lease, so that one may fail."""
_ARRIVAL: Final = 1 / 3
"""The part of a lease within which a write must reach storage. The rest is for the write itself, and for clocks that
differ."""

_ACQUIRE: Final = """
-- KEYS lock, number. ARGV token, ms of the lease.
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] then return tonumber(redis.call('GET', KEYS[2])) end
if holder then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return redis.call('INCR', KEYS[2])
"""
_RENEW: Final = """
-- KEYS lock. ARGV token, ms of the lease.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE: Final = """
-- KEYS lock. ARGV token.
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""


class LeaseLost(Exception):
    """Another run may have begun. This one must write no further."""


class RunLease:
    """The lease of one run."""

    def __init__(self, leases: "RunLeases", importer: str, token: str, number: int) -> None:
        self._leases = leases
        self.importer = importer
        self.token = token
        self.number = number
        """It grows with each run of an importer."""

    async def check(self) -> int:
        """Renew the lease. Raises LeaseLost, or RedisError. Call it before each write, which must end within LEASE_S.

        A process that was frozen past its lease learns it here. Return the last ms since 1970 at which a write may
        reach storage: the process can also be frozen between this check and the write.
        """
        until_ms = clock_ms() + self._leases.write_ms
        if not await self._leases.renew(self.importer, self.token):
            raise LeaseLost(f"run {self.number} of {self.importer} has lost its lease")
        return until_ms


class RunLeases:
    """The leases of all importers. `redis` must decode responses."""

    def __init__(self, redis: Redis, *, lease_s: float = LEASE_S) -> None:
        self._redis = redis
        self._lease_ms = round(1000 * lease_s)
        self.write_ms = round(self._lease_ms * _ARRIVAL)
        """How long after a check a write may reach storage."""
        self._acquire = redis.register_script(_ACQUIRE)
        self._renew = redis.register_script(_RENEW)
        self._release = redis.register_script(_RELEASE)

    @contextlib.asynccontextmanager
    async def hold(self, importer: str) -> AsyncIterator[RunLease | None]:
        """Hold the lease of an importer, and renew it. Yield None if another run holds it. Raises RedisError."""
        token = uuid.uuid4().hex
        keys = [names.offers_lock_key(importer), names.offers_number_key(importer)]
        number = int(await self._acquire(keys=keys, args=(token, self._lease_ms)))
        if not number:
            yield None
            return
        lease = RunLease(self, importer, token, number)
        renewing = asyncio.create_task(self._renew_forever(lease))
        try:
            yield lease
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            await self._end(keys[0], token)

    async def _end(self, key: str, token: str) -> None:
        """Release a lease, also over a restart of Redis: else the next run would be refused until the lease ends."""
        with contextlib.suppress(RedisError, TimeoutError):
            async with asyncio.timeout(self._lease_ms / 1000):  # then it has ended by itself
                await retried(
                    lambda: self._release(keys=[key], args=(token,)),
                    RedisError,
                    backoff=Backoff(first_s=0.2, longest_s=2.0),
                    attempts=1_000,
                    on_error=RedisOutages().failed,
                )

    async def renew(self, importer: str, token: str) -> bool:
        """Extend a lease to its whole time. Return False if it is lost."""
        return bool(await self._renew(keys=[names.offers_lock_key(importer)], args=(token, self._lease_ms)))

    async def _renew_forever(self, lease: RunLease) -> None:
        while True:
            await asyncio.sleep(self._lease_ms / 1000 / _RENEWALS)
            try:
                await lease.check()
            except RedisError as error:
                log.warning("redis_unavailable", error=f"{type(error).__name__}: {error}")
            except LeaseLost:  # the run notices it before its next write
                log.warning("lease_lost", importer=lease.importer, number=lease.number)
                return
