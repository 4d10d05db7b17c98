import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from deploy.develop.localstack.ports import LOOPBACK, free_port
from services.backbone.clients import StorageClient, StorageFailed, StorageRefused, StorageUnavailable


class Stub:
    """Responds to each request with one status, and keeps the requests."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.requests: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = [line.partition(":")[2] for line in head.splitlines() if line.lower().startswith("content-length")]
        body = await reader.readexactly(int(length[0])) if length else b""
        self.requests.append(f"{head.partition(' HTTP')[0]} {body.decode()}".strip())
        writer.write(f"HTTP/1.1 {self.status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        writer.close()


@contextlib.asynccontextmanager
async def storage(status: int = 200) -> AsyncIterator[tuple[StorageClient, Stub]]:
    stub = Stub(status)
    port = free_port()
    server = await asyncio.start_server(stub.serve, LOOPBACK, port)
    async with server, StorageClient(f"http://{LOOPBACK}:{port}/") as client:
        yield client, stub


async def test_requests_have_the_paths_of_storage() -> None:
    async with storage() as (client, stub):
        await client.store_fix("phone 1", latitude=52.5, longitude=-13.25, accuracy_m=12.0, at_ms=1000)
        await client.match_object("searches", "652f")
        await client.notify_searchers("Meetup/Com?")
    assert stub.requests == [
        "POST /store/geo di=phone+1&lt=52.5&lg=-13.25&a=12.0&ts=1000",
        "POST /searches/652f/notify",
        "POST /bulk/notify_searchers/Meetup%2FCom%3F",
    ]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, StorageRefused),
        (401, StorageUnavailable),
        (422, StorageRefused),
        (429, StorageUnavailable),
        (500, StorageFailed),
        (502, StorageUnavailable),
        (503, StorageUnavailable),
        (504, StorageUnavailable),
    ],
)
async def test_error_depends_on_whether_a_retry_helps(status: int, error: type[Exception]) -> None:
    async with storage(status) as (client, stub):
        with pytest.raises(error) as raised:
            await client.match_object("offers", "1")
    assert type(raised.value) is error
    assert len(stub.requests) == 1


async def test_service_without_a_connection_is_unavailable() -> None:
    async with StorageClient(f"http://{LOOPBACK}:{free_port()}") as client:
        with pytest.raises(StorageUnavailable, match="Connect"):
            await client.notify_searchers("a")
