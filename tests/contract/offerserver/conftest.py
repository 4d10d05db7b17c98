"""A storage for each file, an empty Redis and an empty database for each test."""

from collections.abc import AsyncIterator, Iterator

import pytest

from deploy.develop.localstack.mongo import MongoServer
from deploy.develop.localstack.redis import LocalRedis
from tests.contract.offerserver.bench import ImportBench, import_bench
from tests.contract.storage.api.serving import SharedStorage


@pytest.fixture(scope="module")
def shared_storage(mongo_server: MongoServer) -> Iterator[SharedStorage]:
    shared = SharedStorage(mongo_server.url, "t-offers-storage")
    with shared.running():
        yield shared


@pytest.fixture
async def bench(clean_redis: LocalRedis, shared_storage: SharedStorage) -> AsyncIterator[ImportBench]:
    async with import_bench(clean_redis.url, shared_storage, timeout_s=2.0) as made:
        yield made
    shared_storage.clear()
