"""kubernetes.spin against a real HTTP server: everything starts in order, once, and is removed again."""

import copy
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.cluster import namespaces, overlay, secrets, spin
from deploy.cluster.api import Api, Manifest
from deploy.cluster.spin import Patience
from deploy.errors import OperatorError
from deploy.paths import ROOT
from tests.cluster.api_server import ApiServer
from tests.cluster.state import Key


@pytest.fixture
def prepared(client: Api, local: list[Manifest], dotenv: Path) -> Api:
    namespaces.create(client, local, print)
    secrets.load(client, local, dotenv, print)
    return client


def altered(manifests: list[Manifest], kind: str, name: str) -> tuple[list[Any], Any]:
    """Return a copy of the manifests, and in it the manifest that the test breaks."""
    copied: list[Any] = copy.deepcopy(manifests)
    return copied, next(each for each in copied if (each["kind"], each["metadata"]["name"]) == (kind, name))


def resource_versions(cluster: ApiServer) -> dict[Any, str]:
    return {key: found["metadata"]["resourceVersion"] for key, found in cluster.state.objects.items()}


def test_up_starts_everything_in_order(
    prepared: Api, cluster: ApiServer, local: list[Manifest], impatient: Patience
) -> None:
    reported: list[str] = []
    spin.up(prepared, local, reported.append, impatient)
    applied = [line.split()[1].split("/")[0] for line in cluster.state.log if line.startswith("apply")]
    first = {plural: applied.index(plural) for plural in applied}
    assert (
        first["namespaces"] < first["configmaps"] < first["services"] < first["networkpolicies"] < first["statefulsets"]
    )
    assert first["statefulsets"] < first["deployments"] < first["jobs"]
    assert "created   StatefulSet tracker" in reported
    assert "ready     StatefulSet tracker 1/1" in reported
    assert reported[-1] == "all ready"


def test_second_up_changes_nothing(
    prepared: Api, cluster: ApiServer, local: list[Manifest], impatient: Patience
) -> None:
    spin.up(prepared, local, print, impatient)
    before = resource_versions(cluster)
    reported: list[str] = []
    spin.up(prepared, local, reported.append, impatient)
    assert resource_versions(cluster) == before
    assert [line for line in reported if line.startswith(("created", "changed", "replaced"))] == []


def test_down_keeps_namespace_secrets_and_volumes(
    prepared: Api, cluster: ApiServer, local: list[Manifest], impatient: Patience
) -> None:
    spin.up(prepared, local, print, impatient)
    reported: list[str] = []
    spin.down(prepared, local, reported.append, impatient, with_volumes=False)
    assert {key.plural for key in cluster.state.objects} == {"namespaces", "secrets", "persistentvolumeclaims"}
    assert reported[-1].startswith(
        "kept      6 volumes: data-counters-redis-0, data-kafka-0, data-mongo-0, images, redis-tracker-0, spool-"
    )


def pod_of_imageserver(namespace: str) -> Manifest:
    labels = {"app.kubernetes.io/part-of": "push", "app.kubernetes.io/name": "imageserver"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "imageserver-1", "namespace": namespace, "labels": labels},
        "spec": {"containers": [{"name": "imageserver", "image": "push/imageserver:dev"}]},
    }


def mount(client: Api, namespace: str, server: str) -> None:
    """Run a pod of imageserver in a namespace whose claim is bound to a volume of a file server."""
    volume = yaml.safe_load((ROOT / "kubernetes" / "components" / "nfs" / "persistent-volume.yaml").read_text())
    volume["metadata"]["name"] = f"{namespace}-images"
    volume["spec"]["nfs"]["server"] = server
    volume["spec"]["claimRef"] = {"namespace": namespace, "name": "images"}
    new = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    for manifest in (new, volume, pod_of_imageserver(namespace)):
        client.apply(copy.deepcopy(manifest))


def test_down_refuses_while_a_pod_mounts_the_server(client: Api, cluster: ApiServer, impatient: Patience) -> None:
    nfs = overlay.build(overlay.find("nfs"))
    spin.up(client, nfs, print, impatient)
    [address] = [found["spec"]["clusterIP"] for found in nfs if found["kind"] == "Service"]
    mount(client, "push-berlin", address)
    with pytest.raises(OperatorError, match="mounted by imageserver-1 of namespace push-berlin: spin down"):
        spin.down(client, nfs, print, impatient, with_volumes=False)
    assert "statefulsets" in {key.plural for key in cluster.state.objects}
    pod = pod_of_imageserver("push-berlin")
    client.delete(pod)
    deadline_s = time.monotonic() + 10
    while client.get(pod) is not None and time.monotonic() < deadline_s:
        time.sleep(0.05)
    spin.down(client, nfs, print, impatient, with_volumes=False)
    assert "statefulsets" not in {key.plural for key in cluster.state.objects}


def test_down_ends_a_server_while_pods_mount_another_one(client: Api, cluster: ApiServer, impatient: Patience) -> None:
    nfs = overlay.build(overlay.find("nfs"))
    spin.up(client, nfs, print, impatient)
    mount(client, "push-hamburg", "10.96.20.50")
    spin.down(client, nfs, print, impatient, with_volumes=False)
    assert "statefulsets" not in {key.plural for key in cluster.state.objects}
    assert client.get(pod_of_imageserver("push-hamburg")) is not None


def test_down_with_volumes_keeps_namespace_and_secrets(
    prepared: Api, cluster: ApiServer, local: list[Manifest], impatient: Patience
) -> None:
    spin.up(prepared, local, print, impatient)
    spin.down(prepared, local, print, impatient, with_volumes=True)
    assert {key.plural for key in cluster.state.objects} == {"namespaces", "secrets"}


def test_nothing_is_applied_while_a_secret_is_missing(client: Api, cluster: ApiServer, local: list[Manifest]) -> None:
    namespaces.create(client, local, print)
    with pytest.raises(
        OperatorError, match="Secret push-secrets in namespace push lacks CONSUMERS_PASSWORD, IMAGESERVER_"
    ):
        spin.up(client, local, print)
    assert {key.plural for key in cluster.state.objects} == {"namespaces"}


def test_unknown_field_is_rejected_by_name(prepared: Api, local: list[Manifest], impatient: Patience) -> None:
    manifests, broken = altered(local, "Deployment", "kafidx")
    broken["spec"]["template"]["spec"]["restartPolice"] = "Always"
    with pytest.raises(OperatorError, match=r"can't apply Deployment kafidx: .* unknown field .*restartPolice"):
        spin.up(prepared, manifests, print, impatient)


def test_wrong_type_is_rejected_with_its_path(prepared: Api, local: list[Manifest], impatient: Patience) -> None:
    manifests, broken = altered(local, "Deployment", "kafidx")
    broken["spec"]["replicas"] = "one"
    with pytest.raises(OperatorError, match=r"can't apply Deployment kafidx: .*spec.replicas: 'one' is not of type"):
        spin.up(prepared, manifests, print, impatient)


def test_missing_reference_is_named(prepared: Api, local: list[Manifest], impatient: Patience) -> None:
    manifests, broken = altered(local, "Deployment", "kafidx")
    container = broken["spec"]["template"]["spec"]["containers"][0]
    container["envFrom"] = [{"configMapRef": {"name": "nowhere"}}]
    with pytest.raises(
        OperatorError, match=r'Deployment kafidx does not become ready: .*configmap "nowhere" not found'
    ):
        spin.up(prepared, manifests, print, impatient)


def test_image_that_cannot_be_pulled_is_named(
    prepared: Api, cluster: ApiServer, local: list[Manifest], impatient: Patience
) -> None:
    cluster.state.unpullable.add("push/kafkastore:dev")
    with pytest.raises(OperatorError, match=r"StatefulSet tracker .*container kafkastore: its image can't be pulled"):
        spin.up(prepared, local, print, impatient)


def test_crash_loop_is_reported_with_the_exit_code(
    prepared: Api, cluster: ApiServer, local: list[Manifest], impatient: Patience
) -> None:
    cluster.state.crashing.add("timing-stats")
    with pytest.raises(OperatorError, match=r"timing-stats: it ends repeatedly .*\(exit code 78\)"):
        spin.up(prepared, local, print, impatient)


def test_change_of_an_immutable_field_is_rejected(prepared: Api, local: list[Manifest], impatient: Patience) -> None:
    spin.up(prepared, local, print, impatient)
    manifests, broken = altered(local, "StatefulSet", "kafka")
    broken["spec"]["podManagementPolicy"] = "OrderedReady"
    with pytest.raises(OperatorError, match=r"can't apply StatefulSet kafka: .*podManagementPolicy.*immutable"):
        spin.up(prepared, manifests, print, impatient)


def resized(manifests: list[Manifest], size: str) -> list[Any]:
    copied, kafka = altered(manifests, "StatefulSet", "kafka")
    kafka["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] = size
    return copied


def test_volumes_grow_while_pods_run(
    prepared: Api, cluster: ApiServer, local: list[Manifest], impatient: Patience
) -> None:
    spin.up(prepared, local, print, impatient)
    pod = Key("v1", "pods", "push", "kafka-0")
    uid = cluster.state.objects[pod]["metadata"]["uid"]
    reported: list[str] = []
    spin.up(prepared, resized(local, "12Gi"), reported.append, impatient)
    assert "growing   data-kafka-0 to 12Gi" in reported
    assert "ready     StatefulSet kafka 1/1" in reported
    claim = cluster.state.objects[Key("v1", "persistentvolumeclaims", "push", "data-kafka-0")]
    assert claim["spec"]["resources"]["requests"]["storage"] == "12Gi"
    assert cluster.state.objects[pod]["metadata"]["uid"] == uid


def test_shrinking_a_volume_is_rejected(prepared: Api, local: list[Manifest], impatient: Patience) -> None:
    spin.up(prepared, local, print, impatient)
    with pytest.raises(OperatorError, match="StatefulSet kafka: volume data has 6Gi and can't shrink to 2Gi"):
        spin.up(prepared, resized(local, "2Gi"), print, impatient)


def test_storage_without_expansion_is_reported_before_any_change(
    prepared: Api, cluster: ApiServer, local: list[Manifest], impatient: Patience
) -> None:
    spin.up(prepared, local, print, impatient)
    cluster.state.log.clear()
    cluster.state.expandable = False
    with pytest.raises(OperatorError, match=r"PersistentVolumeClaim data-kafka-0: .*must support resize"):
        spin.up(prepared, resized(local, "12Gi"), print, impatient)
    assert not [line for line in cluster.state.log if line.startswith("delete")]


def test_changed_job_is_replaced(prepared: Api, local: list[Manifest], impatient: Patience) -> None:
    spin.up(prepared, local, print, impatient)
    manifests, job = altered(local, "Job", "topics")
    job["spec"]["template"]["spec"]["containers"][0]["image"] = "push/topics:next"
    reported: list[str] = []
    spin.up(prepared, manifests, reported.append, impatient)
    assert "replaced  Job topics" in reported
    assert "ready     Job topics 1/1" in reported


def test_failed_job_is_replaced(prepared: Api, cluster: ApiServer, local: list[Manifest], impatient: Patience) -> None:
    cluster.state.crashing.add("topics")
    with pytest.raises(OperatorError, match="Job topics does not become ready: BackoffLimitExceeded"):
        spin.up(prepared, local, print, impatient)
    cluster.state.crashing.clear()
    reported: list[str] = []
    spin.up(prepared, local, reported.append, impatient)
    assert "replaced  Job topics" in reported


def test_stores_are_deleted_after_the_services_that_drain_into_them(
    prepared: Api, cluster: ApiServer, local: list[Manifest], impatient: Patience
) -> None:
    spin.up(prepared, local, print, impatient)
    cluster.state.ready_after_s = 0.5  # and a pod takes as long to end
    seen: list[set[str]] = []

    def report(line: str) -> None:
        if line == "deleted   StatefulSet kafka":
            seen.append({key.name for key in cluster.state.objects if key.plural == "pods"})

    spin.down(prepared, local, report, impatient, with_volumes=False)
    assert seen == [{"kafka-0", "counters-redis-0", "mongo-0"}]


def test_workload_that_is_not_ready_is_reported_at_the_timeout(
    prepared: Api, cluster: ApiServer, local: list[Manifest]
) -> None:
    cluster.state.ready_after_s = 60
    with pytest.raises(OperatorError, match=r"not ready after 0 s: .*StatefulSet kafka \(0/1\)"):
        spin.up(prepared, local, print, Patience(timeout_s=0.3, error_s=0.2))


def test_unknown_kind_is_reported_with_its_installation(
    prepared: Api, cluster: ApiServer, local: list[Manifest], impatient: Patience
) -> None:
    cluster.state.operators = False
    route = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "a"}}
    manifests = [*local, {**route, "metadata": {"name": "a", "namespace": "push"}}]
    before = set(cluster.state.objects)
    with pytest.raises(OperatorError, match=r"the cluster knows no HTTPRoute .* install the Gateway API first"):
        spin.up(prepared, manifests, print, impatient)
    assert set(cluster.state.objects) == before


def test_down_works_when_an_operator_was_uninstalled(
    prepared: Api, cluster: ApiServer, local: list[Manifest], impatient: Patience
) -> None:
    spin.up(prepared, local, print, impatient)
    cluster.state.operators = False
    scaled = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "a", "namespace": "push"}}
    spin.down(prepared, [*local, scaled], print, impatient, with_volumes=True)
    assert {key.plural for key in cluster.state.objects} == {"namespaces", "secrets"}


def test_forbidden_action_is_reported(
    prepared: Api, cluster: ApiServer, local: list[Manifest], impatient: Patience
) -> None:
    cluster.forbidden.add("networkpolicies")
    with pytest.raises(OperatorError, match=r"NetworkPolicy .*: forbidden: .*cannot touch"):
        spin.up(prepared, local, print, impatient)
