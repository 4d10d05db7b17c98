"""Pauses between retries. Each is twice the previous one, up to a limit. Jitter spreads the retries of processes."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

_MOST_DOUBLINGS: Final = 16
_Result = TypeVar("_Result")


class Backoff:
    """The pauses of one retried operation."""

    def __init__(self, *, first_s: float = 0.1, longest_s: float = 5.0) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self.failures = 0

    def next_s(self) -> float:
        """Count a failure and return the seconds to wait after it: half to all of the doubled pause."""
        pause_s = min(self._longest_s, self._first_s * 2.0 ** min(self.failures, _MOST_DOUBLINGS))
        self.failures += 1
        return pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, keeps no secret

    def reset(self) -> None:
        """Begin again with the first pause. Call it after a success."""
        self.failures = 0


async def retried(
    work: Callable[[], Awaitable[_Result]],
    errors: type[Exception],
    *,
    backoff: Backoff,
    attempts: int,
    on_error: Callable[[Exception], object],
) -> _Result:
    """Return the result of `work`. After one of `errors` try again, `attempts` times in all; raise the last one."""
    while True:
        try:
            return await work()
        except errors as error:
            on_error(error)
            if backoff.failures + 1 >= attempts:
                raise
            await asyncio.sleep(backoff.next_s())


async def tried_until_stopped(
    work: Callable[[], Awaitable[object]],
    errors: tuple[type[Exception], ...],
    stop: asyncio.Event,
    *,
    on_error: Callable[[Exception], object],
) -> bool:
    """Try `work` until it succeeds. Return False if `stop` is set before. `on_error` may raise what no retry cures."""
    backoff = Backoff(longest_s=2.0)
    while not stop.is_set():
        try:
            await work()
        except errors as error:
            on_error(error)
        else:
            return True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), backoff.next_s())
    return False
