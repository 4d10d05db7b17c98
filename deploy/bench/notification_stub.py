"""A notificationserver that accepts all and does nothing: `python -m deploy.bench.notification_stub PORT`.

It takes little CPU time, so that the bench measures the sender.
"""

import asyncio
import sys
from typing import Final, cast

import uvloop

_RESPONSE: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_LENGTH: Final = b"content-length:"


class _Stub(asyncio.Protocol):
    def __init__(self) -> None:
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # the transport of uvloop has no common base

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            head = self._unread[:end].lower()
            _, _, rest = head.partition(_LENGTH)
            size = end + 4 + int(rest.split(b"\r\n", 1)[0] or 0)
            if len(self._unread) < size:
                return
            self._unread = self._unread[size:]
            self._transport.write(_RESPONSE)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Stub, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
