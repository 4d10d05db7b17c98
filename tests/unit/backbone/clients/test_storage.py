import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import unquote_plus

import msgspec
import pytest

from deploy.develop.localstack.ports import LOOPBACK, free_port
from services.backbone.clients import (
    ExtdataOffer,
    ReadOffer,
    RequestRefused,
    ServiceFailed,
    ServiceUnavailable,
    StorageClient,
)


class Document(msgspec.Struct):
    """A document to write."""

    text: str


class Stub:
    """Responds to each request with one status, and keeps the requests."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.content = b""
        self.requests: list[str] = []
        self.authorization = ""
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        sizes = [line.partition(":")[2] for line in head.splitlines() if line.lower().startswith("content-length")]
        values = [line.partition(": ")[2] for line in head.splitlines() if line.startswith("Authorization")]
        self.authorization = values[0] if values else ""
        body = await reader.readexactly(int(sizes[0])) if sizes else b""
        self.requests.append(f"{head.partition(' HTTP')[0]} {body.decode()}".strip())
        length = len(self.content)
        writer.write(f"HTTP/1.1 {self.status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n".encode())
        writer.write(self.content)
        writer.close()


@contextlib.asynccontextmanager
async def storage(status: int = 200) -> AsyncIterator[tuple[StorageClient, Stub]]:
    stub = Stub(status)
    port = free_port()
    stub.url = f"http://{LOOPBACK}:{port}/"
    server = await asyncio.start_server(stub.serve, LOOPBACK, port)
    async with server, StorageClient(stub.url) as client:
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


async def test_credentials_are_sent_in_utf_8() -> None:
    async with storage() as (_, stub):
        async with StorageClient(stub.url, credentials=("storage", "größe")) as client:
            await client.match_object("offers", "1")
        assert stub.authorization == "Basic c3RvcmFnZTpncsO2w59l"


async def test_importer_reads_hashes_and_writes_in_slices() -> None:
    async with storage() as (client, stub):
        stub.content = b'{"version":"1.0","data":[{"_id":"1","validuntil":null,"extdata":{"id":"x"}}]}'
        assert await client.offer_extdata("a/b", ["id", "match_hash"]) == [ExtdataOffer("1", {"id": "x"})]
        stub.content = b'{"status":"ok","results":[{"status":"created"},{"status":"refused"}]}'
        assert await client.write_offers(removed=["1"], event="later") == 1
        assert await client.write_offers(removed=["1"], until_ms=7) == 1
    assert [request.partition(" {")[0] for request in stub.requests] == [
        "GET /bulk/extdata/a%2Fb?names=id,match_hash",
        "POST /bulk/offers?event=later",
        "POST /bulk/offers?until=7",
    ]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, RequestRefused),
        (401, ServiceUnavailable),
        (422, RequestRefused),
        (429, ServiceUnavailable),
        (500, ServiceFailed),
        (502, ServiceUnavailable),
        (503, ServiceUnavailable),
        (504, ServiceUnavailable),
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
        with pytest.raises(ServiceUnavailable, match="Connect"):
            await client.notify_searchers("a")


async def test_offers_of_a_chat_are_read_by_their_ids() -> None:
    async with storage() as (client, stub):
        stub.content = (
            b'{"offers":[{"_id":"1a","owner":"MeetupCom","extdata":{"id":7},"validuntil":null,"rank":0},'
            b'{"_id":"2b","owner":"b","extdata":{},"validuntil":99}],"searches":[]}'
        )
        assert await client.offers_of_chat(["1a", "2b"]) == [
            ReadOffer("1a", "MeetupCom", {"id": 7}),
            ReadOffer("2b", "b", {}, 99),
        ]
    assert stub.requests == ["GET /chat/byids?_id=1a_2b"]


async def test_offers_of_an_owner_are_read_in_a_box() -> None:
    async with storage() as (client, stub):
        stub.content = b'{"version":"1.0","data":[{"_id":"1a","owner":"A/B"}]}'
        found = await client.offers_in_box("A/B", south=52.5, west=-13.25, north=52.6, east=13.5)
    assert found == [ReadOffer("1a", "A/B")]
    (request,) = stub.requests
    assert unquote_plus(request) == (
        "GET /bulk/offers/A/B?sw[latitude]=52.5&sw[longitude]=-13.25&ne[latitude]=52.6&ne[longitude]=13.5"
    )
    assert request.startswith("GET /bulk/offers/A%2FB?")


async def test_offers_are_written_in_one_request() -> None:
    async with storage() as (client, stub):
        stub.content = b'{"status":"ok","results":[{"list":"new_offers","status":"refused"},{"status":"changed"}]}'
        new, changed = Document("new"), Document("changed")
        assert await client.write_offers(new=[new], changed=[changed], removed=["1a"]) == 1
    path, _, body = stub.requests[0].rpartition(" ")
    assert path == "POST /bulk/offers"
    assert msgspec.json.decode(body) == {
        "new_offers": [{"text": "new"}],
        "old_offers": [{"text": "changed"}],
        "remove_offers": [{"_id": "1a"}],
    }


async def test_unexpected_response_is_a_failure() -> None:
    async with storage() as (client, stub):
        stub.content = b'{"offers":{}}'
        with pytest.raises(ServiceFailed, match="not as expected"):
            await client.offers_of_chat(["1a"])
