"""A TCP relay between kafkastore and Redis that loses a confirmation: Kafka has the batch, Redis never hears of it."""

import asyncio
import contextlib
import re
from types import TracebackType
from typing import Self

from deploy.develop.localstack.ports import LOOPBACK
from services.backbone import names

_CHUNK = 65_536
# The script that confirms is the one command that names a claim, the leases and the ledger, in this order.
_CONFIRMATION = re.compile(
    rb"%s[^\r]*\r\n\$\d+\r\n%s\r\n\$\d+\r\n%s\r\n"
    % (names.claim_list("", 0).partition("::")[0].encode(), names.CLAIM_LEASES.encode(), names.LEDGER.encode())
)


class LostConfirmation:
    """Listens on a free port and passes bytes on to Redis, up to the first confirmation; from then on, nothing."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._writers: set[asyncio.StreamWriter] = set()
        self.lost = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        self.url = f"redis://{LOOPBACK}:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_connection(LOOPBACK, self._target)
        both = {writer, back_writer}
        self._writers |= both
        try:
            await asyncio.gather(self._pass_on(reader, back_writer), self._pass_on(back_reader, writer))
        finally:
            self._writers -= both

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_CHUNK):
                if _CONFIRMATION.search(data):
                    self.lost.set()
                if not self.lost.is_set():
                    writer.write(data)
                    await writer.drain()
        writer.transport.abort()  # one side is gone: so is the other
