"""A server that responds 200 to each request and keeps nothing: `python -m deploy.bench.accepting PORT`.

It takes the place of the tracker and the notificationserver, so that a bench of storage does not measure them.
"""

import asyncio
import sys
from pathlib import Path
from typing import Final

from deploy.develop.localstack.ports import LOOPBACK
from deploy.develop.localstack.processes import LocalProcess
from deploy.paths import ROOT

_RESPONSE: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def accepting_server(port: int, log: Path) -> LocalProcess:
    """Return the server as a process that is not started."""
    command = [sys.executable, "-m", "deploy.bench.accepting", str(port)]
    return LocalProcess("accepting server", command, log=log, env={}, cwd=ROOT)


async def _respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            begin = head.find(b"content-length:")
            if begin >= 0:
                await reader.readexactly(int(head[begin + 15 :].split(b"\r\n", 1)[0]))
            writer.write(_RESPONSE)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _serve(port: int) -> None:
    server = await asyncio.start_server(_respond, LOOPBACK, port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
