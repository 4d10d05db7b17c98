"""The imageserver on a real MongoDB and a local volume. The tests of a file share a process."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from deploy.develop.localstack.mongo import MongoServer
from services.backbone.mongo import Database, connect
from services.imageserver.store import AssetStore, create_indexes
from tests.contract.imageserver.serving import ImageServer

Start = Callable[..., ImageServer]
AddNumber = Callable[[str, str], None]


@pytest.fixture
async def database(mongo_server: MongoServer, unique_name: str) -> AsyncIterator[Database]:
    """Return an empty database with its indexes."""
    async with connect(mongo_server.url, service="test") as client:
        name = f"t-{unique_name[-40:]}"
        await create_indexes(client[name])
        yield client[name]
        await client.drop_database(name)


@pytest.fixture(scope="module")
def shared_server(
    request: pytest.FixtureRequest, mongo_server: MongoServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ImageServer]:
    folder = tmp_path_factory.mktemp("images")
    name = f"t-{request.module.__name__.rpartition('.')[2]}-{folder.name}"
    server = ImageServer(mongo_server.url, name, folder / "volume", folder / "scratch")
    try:
        server.wait_until_ready()
        yield server
        assert server.end() == 0, server.log.read_text()[-3000:]
    finally:
        server.kill()


@pytest.fixture
def server(shared_server: ImageServer) -> ImageServer:
    return shared_server


@pytest.fixture
def add_number(server: ImageServer) -> AddNumber:
    """Return a function that gives an asset a number of the old system, as an import of its pictures does."""

    async def add(asset_id: str, number: str) -> None:
        async with connect(server.environ["IMAGESERVER_MONGO_URL"], service="test") as client:
            assert await AssetStore(client[server.environ["IMAGESERVER_DATABASE"]]).add_key(asset_id, number)

    return lambda asset_id, number: asyncio.run(add(asset_id, number))


@pytest.fixture
def start(mongo_server: MongoServer, unique_name: str, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a process with settings of its own, on the volume of this test."""
    started: list[ImageServer] = []

    def start_one(
        *, volume: Path = tmp_path / "volume", command: Sequence[str] = ("services.imageserver",), **changed: str
    ) -> ImageServer:
        scratch = tmp_path / f"scratch-{len(started)}"
        name = f"t-{unique_name[-40:]}"
        one = ImageServer(mongo_server.url, name, volume, scratch, command=command, **changed)
        started.append(one)
        one.wait_until_ready()
        return one

    yield start_one
    for one in started:
        one.kill()
