import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from deploy.develop.localstack.ports import LOOPBACK, free_port
from services.backbone.process import http_server
from services.imageserver.routes.slow_clients import SlowClientProtocol

BODY = bytes(50_000_000)


class Impatient(SlowClientProtocol):
    """The protocol with short limits."""

    head_timeout_s = 0.3
    rest_timeout_s = 0.3
    stall_timeout_s = 0.3


async def app(scope: Any, _: Any, send: Any) -> None:
    """Respond at once, without reading the body. `/large` has a large body."""
    body = BODY if scope["path"] == "/large" else b"ok"
    head = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    port = free_port()
    async with http_server(app, host=LOOPBACK, port=port, protocol=Impatient, drain_s=1.0):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        yield reader, writer
        writer.close()


async def read_until_closed(reader: asyncio.StreamReader) -> bytes:
    received = b""
    async with asyncio.timeout(5):
        try:
            while piece := await reader.read(65_536):
                received += piece
        except ConnectionError:
            pass
    return received


async def drip(writer: asyncio.StreamWriter, text: bytes) -> None:
    """Send a byte every 50 ms until the connection is closed."""
    for byte in text:
        if writer.is_closing():
            return
        writer.write(bytes([byte]))
        await asyncio.sleep(0.05)


async def test_connection_without_a_request_is_closed(connection: Connection) -> None:
    assert await read_until_closed(connection[0]) == b""


async def test_slow_head_is_cut_off(connection: Connection) -> None:
    reader, writer = connection
    sending = asyncio.create_task(drip(writer, b"GET / HTTP/1.1\r\nHost: x\r\n" * 10))
    assert await read_until_closed(reader) == b""
    sending.cancel()


async def test_body_that_continues_after_its_response_is_cut_off(connection: Connection) -> None:
    reader, writer = connection
    writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    sending = asyncio.create_task(drip(writer, bytes(1000)))
    assert (await read_until_closed(reader)).endswith(b"ok")
    sending.cancel()


async def test_response_that_is_not_read_is_cut_off(connection: Connection) -> None:
    reader, writer = connection
    writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(1)
    assert len(await read_until_closed(reader)) < len(BODY)


async def test_prompt_client_keeps_its_connection(connection: Connection) -> None:
    reader, writer = connection
    for _ in range(10):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(2) == b"ok"
        await asyncio.sleep(0.1)
