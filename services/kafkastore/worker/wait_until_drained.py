"""Wait until the queue is empty. A container runs this before it stops its kafkastore."""

import asyncio
import contextlib

from services.backbone.logs import get_logger
from services.backbone.queue import EventQueue, QueueError
from services.backbone.redis import connect
from services.kafkastore.settings import Settings

log = get_logger(__name__)

_POLL_S = 0.25
_RESPONSE_LIMIT_S = 2.0


async def wait_until_drained(settings: Settings, *, within_s: float, until_closed: int) -> bool:
    """Wait until every Redis has no entries and no claims. Return False if that takes longer than `within_s`.

    With a port in `until_closed`, also wait until no process listens on it on this machine: a tracker that listens can
    add entries. This function ships nothing; the running kafkastore does.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while True:
                if not (until_closed and await _listens(until_closed)) and not await _waiting(settings):
                    return True
                await asyncio.sleep(_POLL_S)
    return False


async def _listens(port: int) -> bool:
    try:
        async with asyncio.timeout(_RESPONSE_LIMIT_S):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except TimeoutError:
        return True  # the process hangs, and can still accept requests
    except OSError:
        return False
    writer.close()
    return True


async def _waiting(settings: Settings) -> bool:
    """Return whether any Redis has entries or claims, or does not respond."""
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
