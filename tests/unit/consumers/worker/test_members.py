import asyncio

import pytest

from services.consumers.worker.members import OutagePauses


async def test_member_waits_until_nothing_has_worked_for_too_long() -> None:
    pauses = OutagePauses(give_up_s=0.15)
    await pauses.pause("redis_unavailable", OSError("first"))
    await asyncio.sleep(0.2)
    with pytest.raises(OSError, match="second"):
        await pauses.pause("redis_unavailable", OSError("second"))
    pauses.renew()
    await pauses.pause("redis_unavailable", OSError("third"))
