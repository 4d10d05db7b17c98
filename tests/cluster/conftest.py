"""A cluster of its own for each test, and what an operator needs to talk to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.cluster import api, overlay
from deploy.cluster.api import Api, Manifest
from deploy.cluster.spin import Patience
from tests.cluster.api_server import ApiServer
from tests.cluster.state import State


@pytest.fixture
def cluster() -> Iterator[ApiServer]:
    with ApiServer(State()).running() as server:
        yield server


@pytest.fixture
def kubeconfig(cluster: ApiServer, tmp_path: Path) -> Path:
    return cluster.write_kubeconfig(tmp_path / "kubeconfig")


@pytest.fixture
def client(kubeconfig: Path) -> Iterator[Api]:
    with api.connect(environ={"KUBECONFIG": str(kubeconfig)}) as connected:
        yield connected


@pytest.fixture(scope="session")
def local() -> list[Manifest]:
    return overlay.build(overlay.find("local"))


@pytest.fixture
def dotenv(tmp_path: Path) -> Path:
    path = tmp_path / ".env"
    path.write_text("KAFIDX_PASSWORD=not-to-be-seen\nKAFKA_BOOTSTRAP_SERVERS=127.0.0.1:9092\nOTHER=value\n")
    return path


@pytest.fixture
def impatient() -> Patience:
    return Patience(timeout_s=20, fault_s=0.4)
