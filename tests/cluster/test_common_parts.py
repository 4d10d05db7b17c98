"""Python services have short manifests, and get their common parts from one component."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from deploy import catalog
from deploy.cluster import overlay
from deploy.cluster.api import Manifest
from deploy.cluster.generate import KUBERNETES

MAX_LINES = 40
BASE = KUBERNETES / "base"
COMPONENT = KUBERNETES / "components" / "python-process"
CONTAINERS = {name: found for name, found in catalog.load().containers.items() if found.is_python}
HOMES = sorted({found.pod or found.service for found in CONTAINERS.values()})
FILES = sorted(str(path.relative_to(BASE)) for home in HOMES for path in (BASE / home).rglob("*.yaml"))

# A file may change a limit or the port of a probe. It may also copy a part, as the sidecars of the tracker do.
REPEATED = re.compile(
    r"""\b(imagePullPolicy|envFrom|securityContext):
    | path:\ /(livez|readyz)$
    | containerPort:\ 9464$
    | op:\ (add|replace)\n\s*path:\ .*/(imagePullPolicy|envFrom|securityContext|\w+Probe)$""",
    re.MULTILINE | re.VERBOSE,
)


def common_parts(name: str) -> dict[str, Any]:
    """Return the fields of a container that a patch of the component adds, by their name."""
    found = {}
    for operation in yaml.safe_load((COMPONENT / name).read_text()):
        path, _, field = operation["path"].rpartition("/")
        if path.endswith("/containers/0"):
            found[field] = operation["value"]
    return found


@pytest.mark.parametrize("file", FILES)
def test_manifest_has_at_most_40_lines(file: str) -> None:
    assert len((BASE / file).read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("file", FILES)
def test_manifest_does_not_repeat_a_common_part(file: str) -> None:
    assert [found.group() for found in REPEATED.finditer((BASE / file).read_text())] == []


@pytest.mark.parametrize("home", HOMES)
def test_workload_uses_the_component(home: str) -> None:
    kustomization = yaml.safe_load((BASE / home / "kustomization.yaml").read_text())
    assert "../../components/python-process" in kustomization["components"]


def test_containers_of_python_services_have_the_common_parts(local: list[Manifest]) -> None:
    container_parts, process_parts = common_parts("container.yaml"), common_parts("process.yaml")
    assert container_parts.keys() == {"imagePullPolicy", "envFrom", "securityContext"}
    container_parts["envFrom"] = [{"configMapRef": {"name": settings_name(local)}}]
    running = set()
    for manifest, container in containers_of_python_services(local):
        running.add(container["name"])
        assert {field: container.get(field) for field in container_parts} == container_parts, container["name"]
        if manifest["kind"] == "Job":
            assert not process_parts.keys() & container.keys()
            continue
        [port] = [found["name"] for found in container["ports"] if found["name"].startswith("internal")]
        for probe in ("startupProbe", "livenessProbe"):
            wanted = process_parts[probe]
            assert container[probe] == {**wanted, "httpGet": {**wanted["httpGet"], "port": port}}, container["name"]
    assert running == CONTAINERS.keys()


def containers_of_python_services(manifests: list[Manifest]) -> Iterator[tuple[Manifest, dict[str, Any]]]:
    for manifest in manifests:
        template = overlay.pod_template(manifest)
        for container in overlay.containers(template) if template else ():
            if container["name"] in CONTAINERS:
                yield manifest, container


def settings_name(manifests: list[Manifest]) -> str:
    """Return the name of the common settings, which ends with a hash of their content."""
    names = [found["metadata"]["name"] for found in manifests if found["kind"] == "ConfigMap"]
    [name] = [name for name in names if name.startswith("push-settings-")]
    return str(name)
