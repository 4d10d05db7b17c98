import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backbone.backoff import Backoff, retried, tried_until_stopped


@given(st.integers(0, 100))
def test_pause_doubles_up_to_the_limit_with_jitter(failures: int) -> None:
    backoff = Backoff(first_s=0.1, longest_s=5.0)
    for _ in range(failures):
        backoff.next_s()
    full_s = min(5.0, 0.1 * 2.0**failures)
    assert full_s / 2 <= backoff.next_s() <= full_s


def test_pause_is_the_first_again_after_a_success() -> None:
    backoff = Backoff(first_s=0.1, longest_s=5.0)
    for _ in range(10):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 0.1


@pytest.mark.parametrize(("failures", "attempts"), [(0, 1), (2, 3), (3, 3)])
async def test_work_is_tried_again_after_an_error(failures: int, attempts: int) -> None:
    results = [OSError(str(number)) for number in range(failures)]
    seen: list[Exception] = []

    async def work() -> str:
        if results:
            raise results.pop(0)
        return "done"

    waits = Backoff(first_s=0.001)
    if failures < attempts:
        assert await retried(work, OSError, backoff=waits, attempts=attempts, on_error=seen.append) == "done"
    else:
        with pytest.raises(OSError, match="2"):
            await retried(work, OSError, backoff=waits, attempts=attempts, on_error=seen.append)
    assert len(seen) == failures


async def test_other_errors_are_not_tried_again() -> None:
    async def work() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await retried(work, OSError, backoff=Backoff(), attempts=5, on_error=print)


async def test_work_is_tried_until_it_succeeds() -> None:
    results: list[Exception] = [OSError("1"), ValueError("2")]
    seen: list[Exception] = []

    async def work() -> None:
        if results:
            raise results.pop(0)

    assert await tried_until_stopped(work, (OSError, ValueError), asyncio.Event(), on_error=seen.append)
    assert [str(error) for error in seen] == ["1", "2"]


async def test_work_is_not_tried_again_after_a_stop_or_an_error_that_no_retry_cures() -> None:
    async def work() -> None:
        raise OSError("away")

    def give_up(error: Exception) -> None:
        raise error

    stop = asyncio.Event()
    assert not await tried_until_stopped(work, (OSError,), stop, on_error=lambda _: stop.set())
    assert not await tried_until_stopped(work, (OSError,), stop, on_error=give_up)
    with pytest.raises(OSError, match="away"):
        await tried_until_stopped(work, (OSError,), asyncio.Event(), on_error=give_up)
