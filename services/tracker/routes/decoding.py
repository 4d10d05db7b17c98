"""Decode bodies beside the event loop: large ones one at a time, until what is in them is stored.

A body of a few kB is decoded on the event loop. Others are decoded in two threads, one for large bodies and one for the
rest, each in the order in which the bodies are complete. So memory grows by one large body and one other body, however
many arrive at a time, and a usual batch does not wait for a large one.
"""

import asyncio
import contextlib
import ctypes
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

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

T = TypeVar("T")


class Decoders:
    """Runs the decoding of bodies."""

    def __init__(self, *, wait_s: float) -> None:
        """Let a body wait up to `wait_s` for its turn, and as long to be decoded."""
        self._wait_s = wait_s
        self._usual = ThreadPoolExecutor(1, "decode")
        self._large = ThreadPoolExecutor(1, "decode-large")
        self._large_turn = asyncio.Lock()
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

    def _release_soon(self) -> None:
        if self._releasing is None:
            self._releasing = asyncio.get_running_loop().call_later(_RELEASE_AFTER_S, self._release)

    def _release(self) -> None:
        self._releasing = None
        self._large.submit(_call_libc, "malloc_trim", 0)


def _call_libc(name: str, *arguments: int) -> None:
    """Call a function of glibc; other C libraries do not have all of them."""
    function = getattr(ctypes.CDLL(None), name, None)
    if function is not None:
        function(*arguments)
