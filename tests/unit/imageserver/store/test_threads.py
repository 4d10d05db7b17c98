import asyncio
import gc
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from weakref import WeakSet

import pytest

from services.imageserver.core.refusals import ImageRefused, RefusalReason
from services.imageserver.store.threads import VolumeThreads


@pytest.fixture
def threads() -> Iterator[VolumeThreads]:
    threads = VolumeThreads(threads=2, timeout_s=0.2, name="test")
    yield threads
    threads.close()


@pytest.fixture
def hang() -> Iterator[threading.Event]:
    released = threading.Event()
    yield released
    released.set()


async def test_result_and_error_of_a_call_are_passed_on(threads: VolumeThreads) -> None:
    assert await threads.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 7, 0)


async def test_hanging_call_is_refused_in_time(threads: VolumeThreads, hang: threading.Event) -> None:
    begun_s = time.monotonic()
    with pytest.raises(ImageRefused) as refused:
        await threads.run(hang.wait)
    assert refused.value.reason is RefusalReason.VOLUME_AWAY
    assert time.monotonic() - begun_s < 2


async def test_threads_and_waiting_calls_are_bounded_while_all_hang(hang: threading.Event) -> None:
    threads = VolumeThreads(threads=2, timeout_s=0.2, name="bounded")
    results = await asyncio.gather(*(threads.run(hang.wait) for _ in range(200)), return_exceptions=True)
    assert all(isinstance(result, ImageRefused) for result in results)
    assert len([thread for thread in threading.enumerate() if thread.name.startswith("bounded")]) == 2
    threads.close()


class Argument:
    """An argument of a call, whose end shows that nothing keeps the call."""


async def test_refused_calls_are_not_kept_while_all_threads_hang(hang: threading.Event) -> None:
    threads = VolumeThreads(threads=2, timeout_s=0.02, name="kept")
    kept: WeakSet[Argument] = WeakSet()

    def work(_: Argument) -> None:
        hang.wait()

    for _ in range(20):
        arguments = [Argument() for _ in range(50)]
        kept.update(arguments)
        await asyncio.gather(*(threads.run(work, each) for each in arguments), return_exceptions=True)
    gc.collect()
    assert len(kept) <= 2 + 50  # those that hang, and those of the last round
    threads.close()


async def test_calls_succeed_again_after_a_hang(threads: VolumeThreads, hang: threading.Event) -> None:
    await asyncio.gather(*(threads.run(hang.wait) for _ in range(200)), return_exceptions=True)
    hang.set()
    async with asyncio.timeout(10):
        while True:
            try:
                assert await threads.run(divmod, 7, 2) == (3, 1)
            except ImageRefused:
                await asyncio.sleep(0.01)
            else:
                return


HANGS_AT_ITS_END = """
import asyncio, contextlib, threading
from services.imageserver.core.refusals import ImageRefused
from services.imageserver.store.threads import VolumeThreads

async def main():
    with contextlib.closing(VolumeThreads(threads=1, timeout_s=0.1, name="volume")) as threads:
        with contextlib.suppress(ImageRefused):
            await threads.run(threading.Event().wait)

asyncio.run(main())
"""


def test_hanging_call_does_not_keep_the_process() -> None:
    assert subprocess.run([sys.executable, "-c", HANGS_AT_ITS_END], check=False, timeout=30).returncode == 0
