"""A separate cluster for each test, and the kubeconfig of an operator."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import catalog
from deploy.cluster import api, overlay
from deploy.cluster.api import Api, Manifest
from deploy.cluster.generate import KUBERNETES, generate
from deploy.cluster.settings import Cluster
from deploy.cluster.spin import Patience
from tests.cluster.api_server import ApiServer, make_certificate
from tests.cluster.state import State


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def cluster(certificate: Path) -> Iterator[ApiServer]:
    with ApiServer(State(), certificate).running() as server:
        yield server


@pytest.fixture
def kubeconfig(cluster: ApiServer, tmp_path: Path) -> Path:
    return cluster.write_kubeconfig(tmp_path / "kubeconfig")


@pytest.fixture
def client(kubeconfig: Path) -> Iterator[Api]:
    with api.connect(environ={"KUBECONFIG": str(kubeconfig)}) as connected:
        yield connected


BUILDS = ("local", "cloud", "ingress", "observability", "city-databases", "generated-gateway", "generated-ingress")


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Manifest]]:
    """Return every overlay, every component on the base, and generated overlays with each kind of entry."""
    folder = tmp_path_factory.mktemp("overlays")
    for component in ("ingress", "observability", "city-databases"):
        kustomization: dict[str, Any] = {
            "images": [{"name": f"push/{service}", "newTag": "dev"} for service in catalog.load().services],
            "namespace": "push",
            "resources": [relative(KUBERNETES / "base", folder / component)],
            "components": [
                relative(KUBERNETES / "components" / name, folder / component)
                for name in ("network-policies", component)
            ],
        }
        (folder / component).mkdir()
        (folder / component / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    for entry in ("gateway", "ingress"):
        asked = Cluster(
            name="berlin",
            domain="push.example.com",
            version="1.2.3",
            entry=entry,
            gateway_class="nginx",
            namespace="push-berlin",
            registry="registry.example.com/team",
            observability=True,
            city_databases=True,
            nfs="10.43.7.7" if entry == "gateway" else "",
        )
        generate(asked, folder / f"generated-{entry}")
    own = {name: folder / name for name in BUILDS[2:]}
    return {name: overlay.build(own.get(name) or overlay.find(name)) for name in BUILDS}


def relative(target: Path, directory: Path) -> str:
    return os.path.relpath(target, directory)


@pytest.fixture(scope="session")
def local() -> list[Manifest]:
    return overlay.build(overlay.find("local"))


@pytest.fixture(scope="session")
def secret_names(local: list[Manifest]) -> list[str]:
    """Return the secrets that containers of the local overlay can't start without."""
    return sorted({key for keys in overlay.secret_keys(local).values() for key in keys})


@pytest.fixture
def dotenv(tmp_path: Path, secret_names: list[str]) -> Path:
    path = tmp_path / ".env"
    secret = "".join(f"{name}=not-to-be-seen\n" for name in secret_names)
    path.write_text(f"{secret}KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:9092\nOTHER=value\n")
    return path


@pytest.fixture
def impatient() -> Patience:
    return Patience(timeout_s=20, error_s=0.4)
