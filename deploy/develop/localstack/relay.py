"""A TCP relay that plays a bad network: it delays, holds back, cuts, and refuses."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from deploy.develop.localstack.ports import LOOPBACK, free_port

_CHUNK = 65_536


class Relay:
    """Listens on a port of its own and passes bytes on to `target` on loopback. Use it as an async context manager."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.latency_s = 0.0
        """How long each piece is kept, in each direction."""
        self._target = target
        self._refusing = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._ends: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    def stall(self) -> None:
        """Pass nothing on, and let neither side notice."""
        self._flowing.clear()

    def cut(self) -> None:
        """Reset all connections, and from now on every new one."""
        self._refusing = True
        for end in self._ends:
            end.transport.abort()

    def heal(self) -> None:
        """Be a good network again; what was stalled arrives."""
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
                asyncio.ensure_future(self._pass_on(reader, far_writer)),
                asyncio.ensure_future(self._pass_on(far_reader, writer)),
            ]
            try:
                # One side gone is the end of both.
                await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for direction in directions:
                    direction.cancel()
                await asyncio.wait(directions)
        except OSError:
            return  # nobody listens there: the caller sees its connection cut
        finally:
            self._ends -= ends
            for end in ends:
                end.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                if self.latency_s:
                    await asyncio.sleep(self.latency_s)
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
