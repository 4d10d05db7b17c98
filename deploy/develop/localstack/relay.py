"""A TCP relay that simulates a bad network: latency, stalls, resets and refused connections."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Self

from deploy.develop.localstack.ports import LOOPBACK, free_port

_CHUNK = 65_536


class Relay:
    """Listens on its own `port` and forwards bytes to `target` on loopback. Use it as an async context manager.

    `inspect` sees each chunk from the client before it is forwarded. It may call `stall` to hold the chunk back.
    """

    def __init__(self, target: int, *, inspect: Callable[[bytes], None] = lambda _chunk: None) -> None:
        self.port = free_port()
        self.latency_s = 0.0
        """Delay of each chunk, in each direction."""
        self._target = target
        self._inspect = inspect
        self._refusing = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._ends: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    def stall(self) -> None:
        """Forward nothing. Connections stay open, so neither side notices."""
        self._flowing.clear()

    def cut(self) -> None:
        """Reset all connections, and every new one until `heal`."""
        self._refusing = True
        for end in self._ends:
            end.transport.abort()

    def heal(self) -> None:
        """Forward without delay again, beginning with the chunks that were held back."""
        self.latency_s = 0.0
        self._refusing = False
        self._flowing.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = {writer}
        try:
            if self._refusing:
                return
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self._target)
            ends.add(far_writer)
            self._ends |= ends
            directions = [
                asyncio.ensure_future(self._forward(reader, far_writer, inspect=self._inspect)),
                asyncio.ensure_future(self._forward(far_reader, writer)),
            ]
            try:
                # When one side closes, close the other too.
                await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for direction in directions:
                    direction.cancel()
                await asyncio.wait(directions)
        except OSError:
            return  # the target does not listen: the client sees a reset
        finally:
            self._ends -= ends
            for end in ends:
                end.transport.abort()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        inspect: Callable[[bytes], None] = lambda _chunk: None,
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                inspect(chunk)
                if self.latency_s:
                    await asyncio.sleep(self.latency_s)
                await self._flowing.wait()
                writer.write(chunk)
                await writer.drain()
