"""One storage for the tests of a file. It matches and reports at once. Its database is emptied after each test."""

from collections.abc import Iterator

import pytest

from deploy.develop.localstack.mongo import MongoServer
from tests.contract.storage.api.conftest import own_environ, own_tracker, phone, running, service, tracker
from tests.contract.storage.api.serving import SharedStorage
from tests.contract.storage.storing import StubNotificationServer

__all__ = ["own_environ", "own_tracker", "phone", "running", "service", "tracker"]

# At 0.05 s between two polls, it and its MongoDB took 40 % of a core.
_AT_ONCE = {"MATCH_GRACE_S": "0.05", "MATCH_POLL_S": "0.25"}


@pytest.fixture(scope="module")
def shared_storage(mongo_server: MongoServer) -> Iterator[SharedStorage]:
    shared = SharedStorage(mongo_server.url, "t-shared-pages")
    shared.environ |= _AT_ONCE
    with shared.running():
        yield shared


@pytest.fixture
def notifications(shared_storage: SharedStorage, running: dict[str, str]) -> StubNotificationServer:  # noqa: ARG001 - it empties the stub
    return shared_storage.notifications
