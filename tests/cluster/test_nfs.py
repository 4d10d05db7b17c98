"""The NFS server of imageserver in a cluster: its overlay, and the component that mounts it."""

import json
import re
import warnings

import kubernetes_validate
import pytest
import yaml

from deploy import catalog
from deploy.cluster import overlay
from deploy.cluster.api import Manifest, title
from deploy.paths import ROOT
from tests.nfs.machine import CAPABILITIES, OURS

SERVICE = ROOT / "services" / "imageserver.nfs"


@pytest.fixture(scope="module")
def nfs() -> list[Manifest]:
    return overlay.build(overlay.find("nfs"))


def only(manifests: list[Manifest], kind: str) -> Manifest:
    [found] = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


@pytest.mark.parametrize("version", ["1.34", "1.37"])
def test_manifests_are_valid(nfs: list[Manifest], version: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for manifest in nfs:
            kubernetes_validate.validate(json.loads(json.dumps(manifest)), version, strict=True)


def test_server_is_alone_in_its_namespace(nfs: list[Manifest]) -> None:
    assert overlay.namespace(nfs) == "push-nfs"
    assert [title(found) for found in nfs if overlay.pod_template(found)] == ["StatefulSet imageserver-nfs"]
    for manifest in nfs:
        assert manifest["metadata"]["labels"]["app.kubernetes.io/part-of"] == "push"


def test_container_has_exactly_the_listed_capabilities_everywhere(nfs: list[Manifest]) -> None:
    listed = {name.upper() for name in CAPABILITIES}
    [container] = only(nfs, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    context = container["securityContext"]
    assert set(context["capabilities"]["add"]) == listed
    assert context["capabilities"]["drop"] == ["ALL"]
    assert context["readOnlyRootFilesystem"]
    assert not context["allowPrivilegeEscalation"]
    compose = yaml.safe_load((ROOT / "docker-compose" / "imageserver-nfs.yml").read_text())
    assert set(compose["services"]["imageserver-nfs"]["cap_add"]) == listed
    assert set(re.findall(r"\b([A-Z_]+):\d", (SERVICE / "start.sh").read_text())) == listed
    assert set(re.findall(r"^\| `([A-Z_]+)` ", (SERVICE / "README.md").read_text(), re.MULTILINE)) == listed


def test_port_is_that_of_the_catalog_and_the_only_one(nfs: list[Manifest]) -> None:
    port = catalog.load().containers["imageserver-nfs"].port
    assert [each["port"] for each in only(nfs, "Service")["spec"]["ports"]] == [port]
    [container] = only(nfs, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    assert [each["containerPort"] for each in container["ports"]] == [port]
    assert re.findall(r"NFS_Port = (\d+);", (SERVICE / "ganesha.conf").read_text()) == [str(port)]


def test_only_nodes_reach_the_server_and_it_reaches_nothing(nfs: list[Manifest]) -> None:
    spec = only(nfs, "NetworkPolicy")["spec"]
    assert spec["podSelector"] == {}
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    assert "egress" not in spec
    [rule] = spec["ingress"]
    [container] = only(nfs, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    [clients] = [each["value"] for each in container["env"] if each["name"] == "NFS_CLIENTS"]
    assert rule == {"from": [{"ipBlock": {"cidr": clients}}], "ports": [{"port": 2049}]}


def test_clients_reach_a_server_that_is_not_ready_yet(nfs: list[Manifest]) -> None:
    # It becomes ready after its clients have reclaimed their state.
    assert only(nfs, "Service")["spec"]["publishNotReadyAddresses"]


def test_users_of_the_server_and_of_imageserver_are_the_same(builds: dict[str, list[Manifest]]) -> None:
    [pod] = [
        found["spec"]["template"]["spec"]
        for found in builds["generated-gateway"]
        if title(found) == "Deployment imageserver"
    ]
    text = (SERVICE / "ganesha.conf").read_text()
    assert re.findall(r"Anonymous_[UG]id = (\d+);", text) == [str(pod["securityContext"]["runAsUser"])] * 2
    assert f"user={pod['securityContext']['runAsUser']}\n" in (SERVICE / "start.sh").read_text()


def test_component_mounts_the_server_with_the_tested_options(builds: dict[str, list[Manifest]]) -> None:
    manifests = builds["generated-gateway"]
    volume = only(manifests, "PersistentVolume")
    assert volume["metadata"]["name"] == "push-berlin-images"
    assert volume["spec"]["mountOptions"] == ["nfsvers=4.2", *OURS.split(",")]
    assert volume["spec"]["nfs"] == {"server": "10.43.7.7", "path": "/images"}
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    [claim] = [found for found in manifests if title(found) == "PersistentVolumeClaim images"]
    assert (claim["spec"]["storageClassName"], claim["spec"]["volumeName"]) == ("", volume["metadata"]["name"])
    assert claim["spec"]["accessModes"] == volume["spec"]["accessModes"] == ["ReadWriteMany"]
    assert only(manifests, "PersistentVolume") not in builds["generated-ingress"]


def test_address_of_the_component_is_that_of_the_overlay(nfs: list[Manifest]) -> None:
    written = yaml.safe_load((ROOT / "kubernetes" / "components" / "nfs" / "persistent-volume.yaml").read_text())
    assert written["spec"]["nfs"]["server"] == only(nfs, "Service")["spec"]["clusterIP"]


def test_base_image_is_that_of_the_catalog() -> None:
    text = (SERVICE / "Dockerfile").read_text()
    assert re.findall(r"^ARG DEBIAN_IMAGE=(.*)$", text, re.MULTILINE) == [catalog.load().images["debian"]]
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${DEBIAN_IMAGE}"}
