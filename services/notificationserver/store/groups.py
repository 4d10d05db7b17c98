"""GroupWriter: joins writes that are waiting into one, without a timer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

_Item = TypeVar("_Item")
_Done = TypeVar("_Done")


class GroupWriter(Generic[_Item, _Done]):
    """Writes items in groups. A single item is written at once; what arrives meanwhile is the next group."""

    def __init__(self, write: Callable[[list[_Item]], Awaitable[list[_Done]]], *, most: int = 500) -> None:
        """`write` gets at most `most` items and returns a result for each."""
        self._write = write
        self._most = most
        self._waiting: list[tuple[_Item, asyncio.Future[_Done]]] = []
        self._running: asyncio.Task[None] | None = None

    async def submit(self, item: _Item) -> _Done:
        """Write an item with its group. Raises what `write` raises for the group."""
        future: asyncio.Future[_Done] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            try:
                results = await self._write([item for item, _ in group])
            except Exception as error:  # noqa: BLE001 - each waiting caller gets it
                for _, future in group:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), result in zip(group, results, strict=True):
                if not future.done():
                    future.set_result(result)
