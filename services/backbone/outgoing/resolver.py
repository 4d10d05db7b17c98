"""ThreadResolver: resolves names in threads of its own."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

_THREADS: Final = 64


class ThreadResolver(AbstractResolver):
    """Resolves names as the operating system does.

    The threads of the event loop are few (uvloop: 4), so a few names whose servers do not respond would delay all
    other names. The client resolves each name once at a time.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a name. Raises OSError."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, _resolve, host, port, family)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _resolve(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    infos = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [
        ResolveResult(
            hostname=host,
            host=str(address[0]),  # with its zone, if it is link-local
            port=int(address[1]),
            family=found,
            proto=proto,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for found, _, proto, _, address in infos
    ]
