"""The log of a step that failed."""

import asyncio

from pymongo.errors import BulkWriteError
from structlog.testing import capture_logs

from services.notificationserver.worker.loop import WorkLoop


async def test_log_of_a_failed_step_has_the_class_and_no_device_id() -> None:
    async def step() -> bool:
        loop.stopping = True
        raise BulkWriteError({"writeErrors": [{"code": 121, "op": {"device_id": "anna@example.com"}}]})

    loop = WorkLoop("planner", step, poll_s=1.0)
    with capture_logs() as logged:
        async with asyncio.timeout(10.0):
            await loop.run()
    assert [(each["event"], each["error"]) for each in logged] == [("step_failed", "BulkWriteError 65")]
