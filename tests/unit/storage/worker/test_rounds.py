import asyncio

import pytest
from pymongo.errors import AutoReconnect

from services.storage.worker.rounds import work_on_all


async def test_all_items_are_worked_on_and_one_failure_stops_no_other() -> None:
    async def work(item: int) -> bool:
        await asyncio.sleep(0)
        if item == 3:
            raise ValueError("bad")
        return True

    done = await work_on_all(range(10), work, concurrent=2)
    assert done.server_responds
    assert [(failure.item, str(failure.error)) for failure in done.failures] == [(3, "bad")]
    assert done.untried == []


async def test_no_item_begins_after_a_failure_while_the_server_has_not_responded() -> None:
    begun: list[int] = []

    async def work(item: int) -> bool:
        begun.append(item)
        await asyncio.sleep(0)
        raise ValueError

    done = await work_on_all(range(10), work, concurrent=3)
    assert not done.server_responds
    assert sorted(failure.item for failure in done.failures) == begun == [0, 1, 2]
    assert done.untried == list(range(3, 10))


async def test_work_without_a_response_is_no_sign_that_the_server_is_up() -> None:
    async def work(item: int) -> bool:
        if item == 1:
            raise ValueError
        return False

    done = await work_on_all(range(3), work, concurrent=1)
    assert (done.server_responds, [failure.item for failure in done.failures], done.untried) == (False, [1], [2])


async def test_error_of_the_database_is_raised_after_the_running_work_has_ended() -> None:
    ended: list[int] = []

    async def work(item: int) -> bool:
        await asyncio.sleep(0.01 * item)
        if item == 0:
            raise AutoReconnect("away")
        ended.append(item)
        return True

    with pytest.raises(AutoReconnect):
        await work_on_all(range(5), work, concurrent=2)
    assert ended == [1], "the others do not begin"
