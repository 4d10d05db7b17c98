import asyncio

import pytest

from services.consumers.worker.members import Patience


async def test_member_waits_until_nothing_has_worked_for_too_long() -> None:
    patience = Patience(give_up_s=0.15)
    await patience.pause("redis_unavailable", OSError("first"))
    await asyncio.sleep(0.2)
    with pytest.raises(OSError, match="second"):
        await patience.pause("redis_unavailable", OSError("second"))
    patience.renew()
    await patience.pause("redis_unavailable", OSError("third"))
