"""A TCP relay that can cut every connection that goes through it, as a network does: without a closing handshake."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from deploy.develop.localstack.ports import LOOPBACK

_CHUNK = 65_536


class Relay:
    """Listens on a free port and passes bytes on to `port`. While `refusing`, new connections are cut at once."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._writers: set[asyncio.StreamWriter] = set()
        self.refusing = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        self.url = f"http://{LOOPBACK}:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        self._server.close()

    def cut(self) -> None:
        """Reset all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        back_reader, back_writer = await asyncio.open_connection(LOOPBACK, self._target)
        both = {writer, back_writer}
        self._writers |= both
        try:
            await asyncio.gather(_pass_on(reader, back_writer), _pass_on(back_reader, writer))
        finally:
            self._writers -= both
            for end in both:
                end.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()  # one side is gone: so is the other
