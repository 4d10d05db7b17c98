"""A round of work on claimed items: which ones succeeded, which ones failed, and whether the server is down."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

from pymongo.errors import ConnectionFailure

Item = TypeVar("Item")


class Failure(NamedTuple, Generic[Item]):
    """An item whose work failed."""

    item: Item
    error: Exception


class WorkRound(NamedTuple, Generic[Item]):
    """The result of a round."""

    server_responds: bool
    """Whether the server accepted or rejected an item. Then the failures are failures of their items alone."""
    failures: list[Failure[Item]]
    untried: list[Item]
    """The items that did not begin, because the server seems to be down."""


async def work_on_all(
    items: Iterable[Item], work: Callable[[Item], Awaitable[bool]], *, concurrent: int
) -> WorkRound[Item]:
    """Call `work` for each item. It returns whether the server has responded.

    After a failure no item begins before the server has responded. An error of one item, of any kind, stops no other
    item. But ConnectionFailure is raised, after the running calls have ended: without the database nothing can go on.
    """
    free = asyncio.Semaphore(concurrent)
    failures: list[Failure[Item]] = []
    untried: list[Item] = []
    responses = 0
    database_errors: list[ConnectionFailure] = []

    async def work_on(item: Item) -> None:
        nonlocal responses
        async with free:
            if database_errors or (failures and not responses):
                untried.append(item)
                return
            try:
                responses += await work(item)
            except ConnectionFailure as error:
                database_errors.append(error)
            except Exception as error:  # noqa: BLE001 - the caller reports it with its item
                failures.append(Failure(item, error))

    await asyncio.gather(*map(work_on, items))
    if database_errors:
        raise database_errors[0]
    return WorkRound(responses > 0, failures, untried)
