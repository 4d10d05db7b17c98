import asyncio
import contextlib
from typing import Any

import pymongo.lock
import pytest
from pymongo.errors import BulkWriteError

from services.backbone.mongo import duplicates_of

KNOWN = {"code": 11_000, "op": {"_id": "a"}}


def error(*write_errors: dict[str, Any], concern: tuple[dict[str, Any], ...] = ()) -> BulkWriteError:
    return BulkWriteError({"writeErrors": list(write_errors), "writeConcernErrors": list(concern)})


def test_operations_on_existing_keys_are_returned() -> None:
    assert duplicates_of(error(KNOWN)) == [{"_id": "a"}]


@pytest.mark.parametrize(
    "failed",
    [
        error(KNOWN, {"code": 121, "op": {"_id": "b"}}),
        error(KNOWN, concern=({"code": 91},)),
        error(concern=({"code": 64},)),
    ],
)
def test_other_failures_are_raised(failed: BulkWriteError) -> None:
    with pytest.raises(BulkWriteError):
        duplicates_of(failed)


async def test_operation_cancelled_after_a_time_limit_leaves_the_lock_of_pymongo_to_its_holder() -> None:
    lock = pymongo.lock._async_create_lock()
    condition = pymongo.lock._async_create_condition(lock)

    async def wait() -> None:
        async with lock:
            await pymongo.lock._async_cond_wait(condition, 0.01)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    async with lock:
        await asyncio.sleep(0.05)  # the time limit passes, and the task wants the lock
        waiting.cancel()
        await asyncio.sleep(0.05)
        assert lock.locked()
        assert not waiting.done()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    assert not lock.locked()
