"""Waits until nothing is left to ship: what a container runs before it stops the kafkastore beside it."""

import asyncio
import contextlib

from services.backbone.logs import get_logger
from services.backbone.queue import EventQueue, QueueError
from services.backbone.redis import connect
from services.kafkastore.settings import Settings

log = get_logger(__name__)

_LOOK_EVERY_S = 0.25
_RESPONSE_LIMIT_S = 2.0


async def wait_until_drained(settings: Settings, *, within_s: float, until_closed: int) -> bool:
    """Wait until every Redis has neither entries nor claims, and return True; False when that takes too long.

    With a port in `until_closed`, first until nobody listens on it on this machine: as long as a tracker does, more may
    come. Ships nothing itself: that is the running kafkastore's work.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while True:
                if not (until_closed and await _listens(until_closed)) and not await _waiting(settings):
                    return True
                await asyncio.sleep(_LOOK_EVERY_S)
    return False


async def _listens(port: int) -> bool:
    try:
        async with asyncio.timeout(_RESPONSE_LIMIT_S):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except TimeoutError:
        return True  # it hangs: it may still take requests
    except OSError:
        return False
    writer.close()
    return True


async def _waiting(settings: Settings) -> bool:
    """Whether any Redis has something to ship, or does not say that it has not."""
    for server in settings.redis_servers:
        client = connect(server.url, timeout_s=_RESPONSE_LIMIT_S)
        try:
            ledger = await EventQueue(client).ledger()
        except QueueError as error:
            log.warning("redis_unavailable", redis=server.label, error=f"{type(error).__name__}: {error}")
            return True
        finally:
            await client.aclose()
        if ledger.waiting:
            return True
    return False
