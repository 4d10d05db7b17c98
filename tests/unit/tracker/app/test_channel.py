import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.tracker.app.channel import Answering, Answers, Asking, Unanswered


async def seven() -> int:
    return 7


async def never() -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def connected(answers: Answers) -> AsyncIterator[tuple[Asking, Answering]]:
    ours, theirs = socket.socketpair()
    asking, answering = await Asking.open(ours), await Answering.open(theirs.detach())
    tasks = [asyncio.create_task(asking.listen()), asyncio.create_task(answering.answer(answers))]
    try:
        yield asking, answering
    finally:
        await answering.close()
        await asyncio.wait_for(asyncio.gather(*tasks), 5)


async def test_each_question_gets_its_own_answer_in_any_order() -> None:
    async def slow() -> str:
        await asyncio.sleep(0.05)
        return "slow"

    async with connected({"slow": slow, "seven": seven}) as (asking, _):
        slower = asyncio.create_task(asking.ask("slow", str, limit_s=5))
        answers = await asking.ask("seven", int, limit_s=5), await slower
    assert answers == (7, "slow")


async def test_an_answer_that_comes_too_late_is_nobodys() -> None:
    begin = asyncio.Event()

    async def late() -> str:
        await begin.wait()
        return "late"

    async with connected({"late": late, "seven": seven}) as (asking, _):
        with pytest.raises(Unanswered, match=r"no answer within 0\.05 s"):
            await asking.ask("late", str, limit_s=0.05)
        begin.set()
        assert await asking.ask("seven", int, limit_s=5) == 7


async def test_who_waits_is_told_when_the_worker_ends() -> None:
    async with connected({"never": never}) as (asking, answering):
        waiting = asyncio.create_task(asking.ask("never", str, limit_s=5))
        await asyncio.sleep(0.05)
        await answering.close()
        with pytest.raises(Unanswered, match="has ended"):
            await waiting
        with pytest.raises(Unanswered, match="has ended"):
            await asking.ask("never", str, limit_s=5)


async def test_last_words_arrive() -> None:
    async with connected({}) as (asking, answering):
        await answering.close("the spool\ncan't be used")
    assert asking.last_words == "the spool\ncan't be used"


async def test_the_worker_sees_that_the_supervisor_is_gone() -> None:
    ours, theirs = socket.socketpair()
    answering = await Answering.open(theirs.detach())
    task = asyncio.create_task(answering.answer({}))
    ours.close()
    await asyncio.wait_for(task, 5)
    await answering.close("nobody hears this")
