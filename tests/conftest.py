"""Real servers for the tests: started on first use, one of each a session."""

import gc
import shutil
import signal
import tempfile
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaBroker, KafkaKind, choose_kafka
from deploy.develop.localstack.mongo import MongoKind, MongoServer, choose_mongo
from deploy.develop.localstack.redis import LocalRedis


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kafka",
        choices=("auto", "apache", "tansu"),
        default="auto",
        help="the broker that the tests run on: Apache Kafka, Tansu, or what the machine has",
    )
    parser.addoption(
        "--mongo",
        choices=("auto", "mongod", "secantus"),
        default="auto",
        help="the MongoDB server of the tests: a real mongod, SecantusDB, or what the machine can run",
    )


def pytest_configure() -> None:
    # No example has a time limit of its own, since other suites may run at the same time; each test has one.
    hypothesis.settings.register_profile("push", deadline=None)
    hypothesis.settings.load_profile("push")
    # Whoever starts the tests in the background may have made them, and all their children, deaf to Ctrl-C.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "kafka_kind" in getattr(item, "fixturenames", ()):
            item.add_marker("broker")
    # Parallel workers take files in this order. Files that talk to the broker take longest and come first, so that no
    # worker begins one of them when the others have finished.
    with_broker = {item.path for item in items if item.get_closest_marker("broker")}
    items.sort(key=lambda item: item.path not in with_broker)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the collector out of the parsing of sources: on Python 3.11 a finalizer in its midst breaks `ast.parse`."""
    if call.excinfo is None:
        return (yield)
    gc.collect()
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.fixture(scope="session")
def kafka_kind(pytestconfig: pytest.Config) -> KafkaKind:
    return choose_kafka(pytestconfig.getoption("--kafka"), print)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRedis]:
    """A Redis that all tests share; see `clean_redis`."""
    folder = tmp_path_factory.mktemp("redis")
    server = LocalRedis(data=folder / "data", log=folder / "redis.log")
    try:
        server.start()
        server.wait_ready()
        yield server
    finally:
        server.process.stop()


@pytest.fixture
def clean_redis(redis_server: LocalRedis) -> LocalRedis:
    """The shared Redis with nothing in it."""
    redis_server.flush()
    return redis_server


@pytest.fixture(scope="session")
def kafka_broker(local_stack: LocalStack) -> KafkaBroker:
    """The broker of the shared stack, for tests that make topics of their own, see `unique_name`."""
    return local_stack.kafka


@pytest.fixture(scope="session")
def mongo_kind(pytestconfig: pytest.Config) -> MongoKind:
    return choose_mongo(pytestconfig.getoption("--mongo"), print)


@pytest.fixture(scope="session")
def mongo_server(mongo_kind: MongoKind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    """A MongoDB that all tests share: each test makes its own database, see `unique_name`."""
    memory = Path("/dev/shm")  # noqa: S108 - eight times the inserts of a disk; nothing of it is wanted afterwards
    # Containers have 64 MB there by default, and the journal alone takes 100.
    has_room = memory.is_dir() and shutil.disk_usage(memory).free > 2**30
    data = Path(tempfile.mkdtemp(prefix="push-mongo-", dir=memory if has_room else None))
    server = MongoServer(mongo_kind, data=data, log=tmp_path_factory.mktemp("mongo") / "mongo.log")
    try:
        server.start()
        server.wait_ready()
        yield server
    finally:
        server.process.stop()
        shutil.rmtree(data)


@pytest.fixture
def unique_name(request: pytest.FixtureRequest) -> str:
    """A name for a topic, a group or a key that no other test uses."""
    return f"{request.node.originalname or request.node.name}-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def local_stack(kafka_kind: KafkaKind) -> Iterator[LocalStack]:
    """A stack that all tests share, with the topics made and no service started."""
    with LocalStack(kafka=kafka_kind) as stack:
        yield stack
