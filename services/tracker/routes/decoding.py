"""Decode bodies so that memory and the pauses of the event loop stay bounded.

| body | decoded |
|---|---|
| up to 8 KiB; a batch of up to 256 KiB, in slices | on the event loop |
| one event of 8 to 256 KiB | in a thread, one at a time |
| larger than 256 KiB | in another thread, one at a time until its events are stored |

So memory grows by one large and one other body, however many arrive at a time, and a usual batch does not wait for a
large one.
"""

import asyncio
import contextlib
import ctypes
import sys
import time
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar, cast

from services.tracker import core

# The slowest body of this size takes some 5 ms, and a usual one less than a thread would add.
_INLINE_BYTES: Final = 8_192
_LARGE_BYTES: Final = 262_144
# Delay between a large body and the return of its memory, so that many large bodies cost one return.
_RELEASE_AFTER_S: Final = 1.0
# glibc keeps freed blocks below a threshold that grows to 32 MiB with the blocks in use (mallopt(3)). A fixed one lets
# each body be a mapping of its own, which grows without a copy and goes back to the system when it is freed.
_M_MMAP_THRESHOLD: Final = -3
_OWN_MAPPING_BYTES: Final = 524_288
# How long a thread that decodes may keep the GIL while the event loop waits for it. A GET waits several times: its
# median beside 12 hostile bodies was 16 to 43 ms with Python's 5 ms, and 1 to 12 ms with this.
_SWITCH_INTERVAL_S: Final = 0.0005

# Other tasks wait this long, and for one more slice, while the event loop decodes a body. A usual batch of 500 entries
# takes 2 ms.
_LONGEST_SLICES_S: Final = 0.004

T = TypeVar("T")


class Decoders:
    """Runs the decoding of bodies."""

    def __init__(self, *, wait_s: float) -> None:
        """Let a body wait up to `wait_s` for its turn, and as long to be decoded."""
        self._wait_s = wait_s
        self._usual = ThreadPoolExecutor(1, "decode")
        self._large = ThreadPoolExecutor(1, "decode-large")
        self._large_turn = asyncio.Lock()
        self._usual_turn = asyncio.Lock()
        self._releasing: asyncio.TimerHandle | None = None
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        _call_libc("mallopt", _M_MMAP_THRESHOLD, _OWN_MAPPING_BYTES)

    @contextlib.asynccontextmanager
    async def turn(self, body: core.Body) -> AsyncIterator[None]:
        """Wait until a body may be decoded; a large one keeps its turn while the block runs. Raises TimeoutError."""
        if body.fits(_LARGE_BYTES):
            yield
            return
        async with asyncio.timeout(self._wait_s):
            await self._large_turn.acquire()
        try:
            yield
        finally:
            self._large_turn.release()
            self._release_soon()

    async def run(self, body: core.Body, decode: Callable[[bytes | bytearray], T], *, inline: bool = True) -> T:
        """Return what `decode` makes of the body whose turn it is, or raise what it raises. Raises TimeoutError.

        A short body is decoded on the event loop, unless `inline` is False.
        """
        if inline and body.fits(_INLINE_BYTES):
            return decode(body.finish())
        thread = self._usual if body.fits(_LARGE_BYTES) else self._large
        async with asyncio.timeout(self._wait_s):
            return await asyncio.get_running_loop().run_in_executor(thread, lambda: decode(body.finish()))

    async def run_in_slices(
        self, body: core.Body, decode: Callable[[bytes | bytearray], Generator[None, None, T]]
    ) -> T:
        """Return the result of `decode`, which yields between its slices. Raise what it raises, and TimeoutError.

        The event loop decodes a body that is not large, and runs other tasks after each 4 ms. A usual batch needs no
        such pause, so its events share a push with those of other batches. A thread takes a tenth more CPU time.
        """
        if not body.fits(_LARGE_BYTES):
            return await self.run(body, lambda data: _finish(decode(data)))
        slices = decode(body.finish())
        async with self._usual_turn:
            began_s = time.perf_counter()
            while True:
                try:
                    next(slices)
                except StopIteration as end:
                    return cast("T", end.value)
                if time.perf_counter() - began_s > _LONGEST_SLICES_S:
                    await asyncio.sleep(0)
                    began_s = time.perf_counter()

    def _release_soon(self) -> None:
        if self._releasing is None:
            self._releasing = asyncio.get_running_loop().call_later(_RELEASE_AFTER_S, self._release)

    def _release(self) -> None:
        self._releasing = None
        self._large.submit(_call_libc, "malloc_trim", 0)


def _finish(slices: Generator[None, None, T]) -> T:
    while True:
        try:
            next(slices)
        except StopIteration as end:
            return cast("T", end.value)


def _call_libc(name: str, *arguments: int) -> None:
    """Call a function of glibc; other C libraries do not have all of them."""
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*arguments)
