"""cloud.generate: equal flags write equal bytes, all flags have an effect, and no file of others is lost."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import catalog
from deploy.cluster import overlay
from deploy.cluster.api import Manifest
from deploy.cluster.generate import generate, hosts
from deploy.cluster.settings import Cluster, parse_trackers, parse_volumes
from deploy.errors import OperatorError

BERLIN = Cluster(name="berlin", domain="push.example.com", version="1.2.3", gateway_class="nginx")


def read(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def found(manifests: list[Manifest], kind: str, name: str) -> Any:
    return next(each for each in manifests if (each["kind"], each["metadata"]["name"]) == (kind, name))


def test_two_runs_write_equal_files(tmp_path: Path) -> None:
    generate(BERLIN, tmp_path / "a")
    first = read(tmp_path / "a")
    generate(BERLIN, tmp_path / "a")
    assert read(tmp_path / "a") == first
    generate(BERLIN, tmp_path / "b")
    assert read(tmp_path / "b") == first


def test_overlay_has_a_file_for_each_kind(tmp_path: Path) -> None:
    written = [path.name for path in generate(BERLIN, tmp_path / "a")]
    assert written[:5] == ["kustomization.yaml", "namespace.yaml", "secret.yaml", "configmap.yaml", "statefulset.yaml"]
    assert {"deployment.yaml", "job.yaml", "gateway.yaml", "httproute.yaml", "certificate.yaml"} <= set(written)
    generate(dataclasses.replace(BERLIN, entry="ingress"), tmp_path / "a")
    assert "ingress.yaml" in read(tmp_path / "a")
    assert "httproute.yaml" not in read(tmp_path / "a"), "files that are no longer generated are deleted"


def test_objects_of_components_are_patched_too(tmp_path: Path) -> None:
    volumes = {"prometheus/data": "70Gi"}
    with pytest.raises(OperatorError, match="--volumes prometheus/data"):
        generate(dataclasses.replace(BERLIN, volumes=volumes), tmp_path / "a")
    watched = dataclasses.replace(
        BERLIN, volumes=volumes, observability=True, city_databases=True, pull_policy="Always"
    )
    generate(watched, tmp_path / "a")
    built = overlay.build(tmp_path / "a")
    prometheus = found(built, "StatefulSet", "prometheus")["spec"]
    assert prometheus["volumeClaimTemplates"][0]["spec"]["resources"]["requests"] == {"storage": "70Gi"}
    for kind, name in (("StatefulSet", "prometheus"), ("Deployment", "grafana"), ("StatefulSet", "tracker")):
        template = found(built, kind, name)["spec"]["template"]
        assert {each["imagePullPolicy"] for each in overlay.containers(template)} == {"Always"}, name
    [kafkastore] = [
        each
        for each in found(built, "StatefulSet", "tracker")["spec"]["template"]["spec"]["initContainers"]
        if each["name"] == "kafkastore"
    ]
    assert {"name": "city-databases", "mountPath": "/var/lib/push/city", "readOnly": True} in kafkastore["volumeMounts"]
    assert {"name": "GEOIP_DATABASE", "value": "/var/lib/push/city/GeoLite2-City.mmdb"} in kafkastore["env"]


def test_every_flag_is_in_the_build(tmp_path: Path) -> None:
    asked = dataclasses.replace(
        BERLIN,
        namespace="push-berlin",
        registry="registry.example.com/team",
        pull_policy="Always",
        trackers=(3, 30),
        volumes={"kafka/data": "100Gi", "tracker/spool": "8Gi"},
        trusted_proxies="10.0.0.0/8",
        email="me@example.com",
    )
    generate(asked, tmp_path / "a")
    built = overlay.build(tmp_path / "a")
    assert overlay.namespace(built) == "push-berlin"
    tracker = found(built, "StatefulSet", "tracker")
    images = [each["image"] for each in overlay.containers(tracker["spec"]["template"])]
    assert "registry.example.com/team/push/tracker:1.2.3" in images
    for workload in built:
        template = overlay.pod_template(workload)
        for container in overlay.containers(template) if template else ():
            assert container["imagePullPolicy"] == "Always"
    scaler = found(built, "HorizontalPodAutoscaler", "tracker")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 30)
    sizes = {
        f"{name}/{claim['metadata']['name']}": claim["spec"]["resources"]["requests"]["storage"]
        for name in ("kafka", "tracker")
        for claim in found(built, "StatefulSet", name)["spec"]["volumeClaimTemplates"]
    }
    assert sizes == {"kafka/data": "100Gi", "tracker/spool": "8Gi", "tracker/redis": "4Gi"}
    assert any(each["kind"] == "ConfigMap" and "10.0.0.0/8" in each["data"].values() for each in built)
    assert found(built, "Issuer", "push")["spec"]["acme"]["email"] == "me@example.com"
    assert found(built, "Gateway", "push")["spec"]["gatewayClassName"] == "nginx"


def test_services_get_their_hosts_and_the_website_the_bare_domain() -> None:
    website = catalog.Container(name="website", kind="server", service="website", port=5123, host=("www", "www1"))
    tracker = catalog.Container(name="tracker", kind="server", service="tracker", port=5222, host=("trk",))
    worker = catalog.Container(name="worker", kind="worker", service="worker")
    known = catalog.Catalog({each.name: each for each in (website, tracker, worker)}, {}, {})
    assert hosts(known, "example.com") == {
        "website": ["www.example.com", "www1.example.com", "example.com"],
        "tracker": ["trk.example.com"],
    }


def test_files_of_others_are_not_changed(tmp_path: Path) -> None:
    (tmp_path / "notes.yaml").write_text("mine")
    with pytest.raises(OperatorError, match=r"is not empty and was not written by cloud.generate"):
        generate(BERLIN, tmp_path)
    assert read(tmp_path) == {"notes.yaml": b"mine"}


def test_overlay_contains_no_secret(tmp_path: Path) -> None:
    generate(BERLIN, tmp_path / "a")
    secret = yaml.safe_load((tmp_path / "a" / "secret.yaml").read_text())
    assert secret.keys() == {"apiVersion", "kind", "metadata", "type"}


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        ({"domain": "nodot"}, '--domain: invalid value "nodot"'),
        ({"domain": ""}, r"--domain is missing"),
        ({"domain": "-a.example.com"}, "--domain"),
        ({"name": "Berlin"}, '--cluster: invalid value "Berlin"'),
        ({"name": "cloud"}, "--cluster cloud: an overlay of this repository has that name"),
        ({"namespace": "a.b"}, '--namespace: invalid value "a.b"'),
        ({"registry": "https://r"}, "--registry"),
        ({"version": "a b"}, '--tag: invalid value "a b"'),
        ({"email": "nobody"}, '--email: invalid value "nobody"'),
        ({"entry": "door"}, '--entry: invalid value "door". Use one of gateway, ingress'),
        ({"pull_policy": "Sometimes"}, '--pull-policy: invalid value "Sometimes"'),
        ({"gateway_class": ""}, "--gateway-class is missing"),
        ({"trackers": (3, 2)}, "--trackers 3:2"),
        ({"trackers": (1, 2)}, "MIN of at least 2"),
        ({"version": "1" * 64}, '--tag: invalid value "1'),
        ({"trusted_proxies": "10.0.0.0/33"}, "--trusted-proxies"),
        ({"volumes": {"kafka/data": "big"}}, '--volumes kafka/data: invalid size "big"'),
    ],
)
def test_invalid_setting_is_rejected(change: dict[str, Any], reported: str) -> None:
    with pytest.raises(OperatorError, match=reported):
        dataclasses.replace(BERLIN, **change)


def test_unknown_volume_is_rejected_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"--volumes kafka/dta: unknown volume. Use one of .*kafka/data"):
        generate(dataclasses.replace(BERLIN, volumes={"kafka/dta": "1Gi"}), tmp_path / "a")


def test_flags_are_parsed_or_rejected() -> None:
    assert parse_trackers("2:10") == (2, 10)
    assert parse_volumes("kafka/data=1Gi, tracker/spool=2Gi") == {"kafka/data": "1Gi", "tracker/spool": "2Gi"}
    with pytest.raises(OperatorError, match="MIN:MAX"):
        parse_trackers("2")
    with pytest.raises(OperatorError, match="STATEFULSET/VOLUME=SIZE"):
        parse_volumes("kafka")
