"""Real servers for the tests: each starts at its first use and serves the whole session."""

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
    # Each test has a time limit. Single examples have none, since other suites may run at the same time.
    hypothesis.settings.register_profile("push", deadline=None)
    hypothesis.settings.load_profile("push")
    # A shell that starts the tests in the background makes them and their children ignore SIGINT.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "kafka_kind" in getattr(item, "fixturenames", ()):
            item.add_marker("broker")
        if item.get_closest_marker("measures"):
            item.add_marker("slow")  # so that it is in no suite whose tests run beside others
    # Parallel workers take files in this order. Files that need the broker take longest and come first. Otherwise a
    # worker could start one of them when the other workers have finished.
    with_broker = {item.path for item in items if item.get_closest_marker("broker")}
    items.sort(key=lambda item: item.path not in with_broker)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Disable cyclic GC while sources are parsed: on Python 3.11 a finalizer inside `ast.parse` breaks it."""
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
    """Return a Redis that all tests share; see `clean_redis`."""
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
    """Return the shared Redis, emptied."""
    redis_server.flush()
    return redis_server


@pytest.fixture(scope="session")
def kafka_broker(local_stack: LocalStack) -> KafkaBroker:
    """Return the broker of the shared stack. Tests create their own topics; see `unique_name`."""
    return local_stack.kafka


@pytest.fixture(scope="session")
def mongo_kind(pytestconfig: pytest.Config) -> MongoKind:
    return choose_mongo(pytestconfig.getoption("--mongo"), print)


@pytest.fixture(scope="session")
def mongo_server(mongo_kind: MongoKind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoServer]:
    """Return a MongoDB that all tests share. Each test creates its own database; see `unique_name`."""
    memory = Path("/dev/shm")  # noqa: S108 - eight times the inserts of a disk; nothing of it is wanted afterwards
    # Containers have 64 MB there by default, and the journal alone needs 100 MB.
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
    """Return a name for a topic, group or key that no other test uses."""
    return f"{request.node.originalname or request.node.name}-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def local_stack(kafka_kind: KafkaKind) -> Iterator[LocalStack]:
    """Return a stack that all tests share, with topics and without services."""
    with LocalStack(kafka=kafka_kind) as stack:
        yield stack
