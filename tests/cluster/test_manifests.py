"""Rules that no schema checks: manifests match each other, the catalog and the settings of the services."""

import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy import catalog
from deploy.cluster import overlay
from deploy.cluster.api import Manifest, title
from deploy.develop.dotenv import generated_secret
from services.backbone.settings import EnvSettings
from services.mongosetup.core import REPLICA_SET
from services.mongosetup.settings import Settings as MongoSettings
from tests.cluster.conftest import BUILDS
from tests.cluster.policies import allowed

ROOT = Path(__file__).parents[2]
CATALOG = catalog.load()
PARTITIONS = 12
TEMPORARY = "/tmp"  # noqa: S108 - a mount of a container

pytestmark = pytest.mark.parametrize("build", BUILDS)


@pytest.fixture
def manifests(builds: dict[str, list[Manifest]], build: str) -> list[Manifest]:
    return builds[build]


def workloads(manifests: list[Manifest]) -> Iterator[tuple[Manifest, dict[str, Any]]]:
    for manifest in manifests:
        template = overlay.pod_template(manifest)
        if template is not None:
            yield manifest, template


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def names(manifests: list[Manifest], kind: str) -> set[str]:
    return {manifest["metadata"]["name"] for manifest in of_kind(manifests, kind)}


def labels_of(template: dict[str, Any]) -> dict[str, str]:
    labels: dict[str, str] = template["metadata"]["labels"]
    return labels


def wanted_containers(manifests: list[Manifest]) -> list[catalog.Container]:
    """Return the containers of the catalog that this build must have. Those of a profile need its component.

    The NFS server has an overlay of its own (test_nfs.py).
    """
    profiles = {"", "observability"} if "prometheus" in names(manifests, "StatefulSet") else {""}
    return [found for found in CATALOG.containers.values() if found.profile in profiles]


def replicas_at_least(manifests: list[Manifest], workload: Manifest) -> int:
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject"):
        if scaler["spec"]["scaleTargetRef"]["name"] == workload["metadata"]["name"]:
            return int(scaler["spec"].get("minReplicas") or scaler["spec"]["minReplicaCount"])
    return int(workload["spec"].get("replicas", 1))


def test_every_container_of_the_catalog_runs_in_its_pod(manifests: list[Manifest]) -> None:
    running = {
        container["name"]: workload["metadata"]["name"]
        for workload, template in workloads(manifests)
        for container in overlay.containers(template)
    }
    assert running == {found.name: CATALOG.pod_of(found.name) for found in wanted_containers(manifests)}


def test_images_are_pinned_in_the_catalog_or_our_own(manifests: list[Manifest], build: str) -> None:
    for _, template in workloads(manifests):
        for container in overlay.containers(template):
            row = CATALOG.containers[container["name"]]
            name, _, tag = container["image"].rpartition(":")
            if row.image:
                assert container["image"] == CATALOG.images[row.image]
            else:
                assert name.removeprefix("registry.example.com/team/") == f"push/{row.service}"
                version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
                assert tag == "1.2.3" if build.startswith("generated") else {"cloud": version}.get(build, "dev")


def test_arguments_match_the_catalog(manifests: list[Manifest]) -> None:
    for _, template in workloads(manifests):
        for container in overlay.containers(template):
            row = CATALOG.containers[container["name"]]
            if row.service:
                assert tuple(container.get("args", ())) == row.arguments


def test_selectors_match_only_their_own_pods(manifests: list[Manifest]) -> None:
    templates = {title(workload): labels_of(template) for workload, template in workloads(manifests)}
    for workload, template in workloads(manifests):
        selector = workload["spec"].get("selector", {}).get("matchLabels")
        if workload["kind"] == "Job":
            continue
        assert selector.items() <= labels_of(template).items()
        assert [name for name, labels in templates.items() if selector.items() <= labels.items()] == [title(workload)]
        assert not {"app.kubernetes.io/version", "app.kubernetes.io/managed-by"} & selector.keys()


def test_every_object_has_the_recommended_labels(manifests: list[Manifest], build: str) -> None:
    for manifest, template in workloads(manifests):
        for labels in (manifest["metadata"]["labels"], labels_of(template)):
            for name in ("name", "instance", "component", "part-of"):
                assert f"app.kubernetes.io/{name}" in labels, title(manifest)
    if build in ("local", "cloud", "generated-gateway", "generated-ingress"):
        for manifest in manifests:
            assert "app.kubernetes.io/part-of" in manifest["metadata"].get("labels", {}), title(manifest)
            assert manifest["kind"] == "Namespace" or "app.kubernetes.io/version" in manifest["metadata"]["labels"]


def test_no_version_is_in_a_volume_claim_or_a_pod(manifests: list[Manifest]) -> None:
    # A volume claim can't be changed, and a new label of its pod would restart Kafka at each of our releases.
    for workload, template in workloads(manifests):
        claims = workload["spec"].get("volumeClaimTemplates", ())
        for labels in (labels_of(template), *(claim["metadata"].get("labels", {}) for claim in claims)):
            assert "app.kubernetes.io/version" not in labels


def test_services_target_ports_of_pods(manifests: list[Manifest]) -> None:
    for service in of_kind(manifests, "Service"):
        selector = service["spec"]["selector"]
        pods = [template for _, template in workloads(manifests) if selector.items() <= labels_of(template).items()]
        assert len(pods) == 1, title(service)
        ports = {port["name"] for found in overlay.containers(pods[0]) for port in found.get("ports", ())}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports, title(service)


def test_server_has_the_port_of_the_catalog(manifests: list[Manifest]) -> None:
    services = {found["metadata"]["name"]: found["spec"]["ports"] for found in of_kind(manifests, "Service")}
    for row in wanted_containers(manifests):
        if row.port and row.name != "tracker-redis":  # on its pod's loopback
            assert row.port in [port["port"] for port in services[row.name]]


def test_probes_use_existing_ports(manifests: list[Manifest]) -> None:
    for workload, template in workloads(manifests):
        for container in overlay.containers(template):
            ports = {port["name"] for port in container.get("ports", ())}
            probes = {name: probe for name, probe in container.items() if name.endswith("Probe")}
            if workload["kind"] != "Job":
                assert {"startupProbe", "livenessProbe"} <= probes.keys(), container["name"]
            for probe in probes.values():
                action = probe.get("httpGet") or probe.get("tcpSocket") or {}
                assert action.get("port", "") in {*ports, ""}, container["name"]


def test_our_services_have_liveness_and_readiness_probes(manifests: list[Manifest]) -> None:
    for workload, template in workloads(manifests):
        for container in template["spec"]["containers"]:
            if CATALOG.containers[container["name"]].service and workload["kind"] != "Job":
                assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "internal"}
                assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "internal"}


def test_containers_with_worker_processes_have_a_folder_for_temporary_files(manifests: list[Manifest]) -> None:
    mount = {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 - a path in a container
    found = {"action-worker", "imageserver"} & {row.name for row in wanted_containers(manifests)}
    for _, template in workloads(manifests):
        emptied = {volume["name"] for volume in template["spec"].get("volumes", ()) if "emptyDir" in volume}
        for container in template["spec"]["containers"]:
            if mount in container.get("volumeMounts", ()) and "tmp" in emptied:
                found.discard(container["name"])
    assert found == set()


def test_references_name_existing_objects(manifests: list[Manifest]) -> None:
    maps, accounts, services = (names(manifests, kind) for kind in ("ConfigMap", "ServiceAccount", "Service"))
    for workload, template in workloads(manifests):
        assert template["spec"]["serviceAccountName"] in accounts
        assert workload["spec"].get("serviceName", "kafka") in services
        volumes = {volume["name"]: volume for volume in template["spec"].get("volumes", ())}
        claims = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", ())}
        for volume in volumes.values():
            wanted = volume.get("configMap", {"optional": True})
            assert wanted.get("optional") or wanted["name"] in maps
        for container in overlay.containers(template):
            for source in container.get("envFrom", ()):
                assert source["configMapRef"]["name"] in maps
            for mount in container.get("volumeMounts", ()):
                assert mount["name"] in {*volumes, *claims}
    assert overlay.secret_keys(manifests).keys() <= {"push-secrets"}


def test_manifests_refer_to_secrets_and_contain_none(manifests: list[Manifest]) -> None:
    template = (ROOT / ".env.template").read_text()
    secret = {line.split("=")[0] for line in template.splitlines() if line.endswith("=<generate>")}
    assert "KAFIDX_PASSWORD" in secret
    for manifest in of_kind(manifests, "ConfigMap"):
        assert not secret & manifest["data"].keys()
    for manifest in of_kind(manifests, "Secret"):
        assert not {"data", "stringData"} & manifest.keys()
    for _, pod in workloads(manifests):
        for container in overlay.containers(pod):
            for variable in container.get("env", ()):
                assert variable["name"] not in secret or "valueFrom" in variable


def test_every_variable_is_a_setting_of_its_service(manifests: list[Manifest]) -> None:
    maps = {found["metadata"]["name"]: found["data"] for found in of_kind(manifests, "ConfigMap")}
    common = next(data for name, data in maps.items() if name.startswith("push-settings"))
    known: dict[str, type[EnvSettings]] = {
        service: importlib.import_module(f"services.{service}.settings").Settings
        for service in CATALOG.services
        if (ROOT / "services" / service / "settings.py").exists()
    }
    anywhere = {name for settings in known.values() for name in settings.variables()}
    assert common.keys() <= anywhere
    for _, template in workloads(manifests):
        for container in overlay.containers(template):
            settings = known.get(CATALOG.containers[container["name"]].service)
            if settings is None:
                continue
            own = {variable["name"]: variable for variable in container.get("env", ())}
            # Other variables refer to the namespace.
            refers = any("$(POD_NAMESPACE)" in variable.get("value", "") for variable in own.values())
            assert own.keys() - ({"POD_NAMESPACE"} if refers else set()) <= set(settings.variables()), container["name"]
            # Together they are valid settings, for generated secrets and any address of the pod.
            values = {
                name: generated_secret() if "secretKeyRef" in source else variable.get("value", "10.0.0.1")
                for name, variable in own.items()
                for source in [variable.get("valueFrom", {})]
            }
            settings.from_env({**common, **values})


def test_processes_of_celery_have_a_folder_for_temporary_files(manifests: list[Manifest]) -> None:
    (template,) = [found for workload, found in workloads(manifests) if workload["metadata"]["name"] == "action-worker"]
    (container,) = overlay.containers(template)
    (mount,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == TEMPORARY]
    (volume,) = [volume for volume in template["spec"]["volumes"] if volume["name"] == mount["name"]]
    assert "emptyDir" in volume


def test_budgets_fit_replicas(manifests: list[Manifest]) -> None:
    budgets = {found["metadata"]["name"]: found["spec"] for found in of_kind(manifests, "PodDisruptionBudget")}
    for workload, template in workloads(manifests):
        name = workload["metadata"]["name"]
        if replicas_at_least(manifests, workload) < 2:
            assert name not in budgets
        else:
            budget = budgets.pop(name)
            assert budget["maxUnavailable"] == 1
            assert budget["selector"]["matchLabels"].items() <= labels_of(template).items()
            assert template["spec"]["topologySpreadConstraints"], name
    assert not budgets, "a budget matches no pod"


def test_autoscaled_workloads_have_bounds(manifests: list[Manifest]) -> None:
    targets = {(found["kind"], found["metadata"]["name"]): found for found, _ in workloads(manifests)}
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        assert "replicas" not in targets[target["kind"], target["name"]]["spec"], "each apply would undo the scaling"
        assert 2 <= scaler["spec"]["minReplicas"] < scaler["spec"]["maxReplicas"]
    for scaler in of_kind(manifests, "ScaledObject"):
        name = scaler["spec"]["scaleTargetRef"]["name"]
        assert "replicas" not in targets["Deployment", name]["spec"]
        assert 1 <= scaler["spec"]["minReplicaCount"] < scaler["spec"]["maxReplicaCount"] <= PARTITIONS
        container = CATALOG.containers[name]
        triggers = [trigger["metadata"] for trigger in scaler["spec"]["triggers"]]
        if container.scales_by_queues:
            assert [trigger["listName"] for trigger in triggers] == [f"actions.{each}" for each in CATALOG.handlers]
            redis = f"counters-redis.{overlay.namespace(manifests)}.svc:6379"
            assert {(trigger["address"], trigger["databaseIndex"]) for trigger in triggers} == {(redis, "2")}
        else:
            (trigger,) = triggers
            assert [trigger["consumerGroup"]] == list(container.arguments)
            assert trigger["bootstrapServers"] == f"kafka.{overlay.namespace(manifests)}.svc:9092"


def test_every_consumer_and_the_workers_are_scaled_in_the_cloud(manifests: list[Manifest]) -> None:
    scaled = names(manifests, "ScaledObject")
    consumers = {found.name for found in CATALOG.containers.values() if found.service == "consumers" and not found.port}
    consumers.remove("beat")  # one replica
    assert scaled in (set(), consumers)


def test_every_container_has_limits_and_a_restricted_security_context(manifests: list[Manifest]) -> None:
    for workload, template in workloads(manifests):
        spec = template["spec"]
        reads_the_api = workload["metadata"]["name"] == "prometheus"
        assert spec["automountServiceAccountToken"] is reads_the_api
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert not any("hostPath" in volume for volume in spec.get("volumes", ()))
        for container in overlay.containers(template):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} == container["resources"]["requests"].keys()
            assert {"memory"} == container["resources"]["limits"].keys()


def test_local_overlay_fits_two_cores_with_the_services_to_come(manifests: list[Manifest], build: str) -> None:
    if build != "local":
        return
    requested = [
        int(container["resources"]["requests"]["cpu"].removesuffix("m"))
        for _, template in workloads(manifests)
        for container in overlay.containers(template)
    ]
    # Of 2,000 m, Kubernetes itself takes up to 500 m. Another 500 m are reserved for six future services.
    assert sum(requested) <= 1000


def test_namespaces_are_restricted(manifests: list[Manifest], build: str) -> None:
    found = of_kind(manifests, "Namespace")
    assert len(found) == (0 if build in ("ingress", "observability", "city-databases") else 1)
    for namespace in found:
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_policies_allow_exactly_the_connections_of_the_catalog(manifests: list[Manifest]) -> None:
    pods = {workload["metadata"]["name"]: template for workload, template in workloads(manifests)}
    # The members of a cluster reach each other.
    wanted = {("kafka", "kafka", 9092), ("kafka", "kafka", 9093), ("mongo", "mongo", 27017)}
    for row in wanted_containers(manifests):
        wanted |= {
            (CATALOG.pod_of(row.name), CATALOG.pod_of(target), catalog.INTERNAL_PORT) for target in row.reaches_internal
        }
        for target in row.reaches:
            pair = (CATALOG.pod_of(row.name), CATALOG.pod_of(target))
            if pair[0] == pair[1]:
                continue  # on the pod's loopback, where policies do not apply
            if row.name == "prometheus":
                wanted.add((*pair, 9465 if target == "kafkastore" else catalog.INTERNAL_PORT))
            else:
                wanted.add((*pair, CATALOG.containers[target].port))
    assert allowed(of_kind(manifests, "NetworkPolicy"), pods) == wanted


def test_only_containers_that_call_the_internet_may_reach_it(manifests: list[Manifest]) -> None:
    labelled = {
        workload["metadata"]["name"]
        for workload, template in workloads(manifests)
        if labels_of(template).get("push-reaches/internet") == "true"
    }
    assert labelled == {CATALOG.pod_of(row.name) for row in CATALOG.containers.values() if row.internet}


def test_secrets_of_one_container_are_in_no_other_of_its_service(manifests: list[Manifest]) -> None:
    for workload, template in workloads(manifests):
        for container in overlay.containers(template):
            row = CATALOG.containers.get(container["name"])
            if row is None:
                continue
            same_service = [
                found for found in CATALOG.containers.values() if found.service == row.service and row.service
            ]
            of_others = {secret for found in same_service for secret in found.secrets} - set(row.secrets)
            given = {variable["name"] for variable in container.get("env", ())}
            assert not given & of_others, workload["metadata"]["name"]


def test_public_hosts_match_the_catalog(manifests: list[Manifest], build: str) -> None:
    domain = {"cloud": "example.org", "ingress": "example.org"}.get(build, "push.example.com")
    wanted = {row.name: [f"{host}.{domain}" for host in row.host] for row in CATALOG.containers.values() if row.host}
    if build in ("local", "observability", "city-databases"):
        assert not of_kind(manifests, "HTTPRoute", "Ingress")
        return
    if build in ("ingress", "generated-ingress"):
        routes = {
            found["metadata"]["name"]: [rule["host"] for rule in found["spec"]["rules"]]
            for found in of_kind(manifests, "Ingress")
        }
        assert not any("annotations" in found["metadata"] for found in of_kind(manifests, "Ingress"))
        for found in of_kind(manifests, "Ingress"):
            assert found["spec"]["tls"][0]["hosts"] == routes[found["metadata"]["name"]]
            for rule in found["spec"]["rules"]:
                backend = rule["http"]["paths"][0]["backend"]["service"]
                assert backend == {"name": found["metadata"]["name"], "port": {"name": "http"}}
    else:
        routes = {
            found["metadata"]["name"]: found["spec"]["hostnames"]
            for found in of_kind(manifests, "HTTPRoute")
            if found["metadata"]["name"] != "redirect"
        }
        for found in of_kind(manifests, "HTTPRoute"):
            for rule in found["spec"]["rules"]:
                for backend in rule.get("backendRefs", ()):
                    assert backend["port"] == CATALOG.containers[backend["name"]].port
    assert routes == wanted
    (certificate,) = of_kind(manifests, "Certificate")
    assert certificate["spec"]["dnsNames"] == [host for hosts in wanted.values() for host in hosts]


def test_sidecars_of_the_tracker_start_before_and_end_after_it(manifests: list[Manifest]) -> None:
    tracker = next(template for workload, template in workloads(manifests) if workload["metadata"]["name"] == "tracker")
    sidecars = tracker["spec"]["initContainers"]
    assert [found["name"] for found in sidecars] == ["tracker-redis", "kafkastore"]
    assert {found["restartPolicy"] for found in sidecars} == {"Always"}
    command = sidecars[1]["lifecycle"]["preStop"]["exec"]["command"]
    assert command[:4] == ["python", "-m", "services.kafkastore", "wait-until-drained"]
    drain_s = int(command[command.index("--seconds") + 1])
    port = int(command[command.index("--until-closed") + 1])
    assert port in [found["containerPort"] for found in tracker["spec"]["containers"][0]["ports"]]
    # After the drain, kafkastore needs up to ten seconds to stop, and Redis needs time to write its file.
    assert tracker["spec"]["terminationGracePeriodSeconds"] >= drain_s + 20


def test_kafka_keeps_confirmed_records(manifests: list[Manifest]) -> None:
    kafka = next(found for found, _ in workloads(manifests) if found["metadata"]["name"] == "kafka")
    settings = next(
        found["data"] for found in of_kind(manifests, "ConfigMap") if found["metadata"]["name"].startswith("kafka-")
    )
    nodes = kafka["spec"]["replicas"]
    voters = settings["KAFKA_CONTROLLER_QUORUM_VOTERS"].split(",")
    assert voters == [f"{node}@kafka-{node}.kafka:9093" for node in range(nodes)]
    assert settings["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == settings["KAFKA_UNCLEAN_LEADER_ELECTION_ENABLE"] == "false"
    duplicates, in_sync = int(settings["KAFKA_DEFAULT_REPLICATION_FACTOR"]), int(settings["KAFKA_MIN_INSYNC_REPLICAS"])
    assert (duplicates, in_sync) == ((3, 2) if nodes == 3 else (1, 1))
    topics = next(template for found, template in workloads(manifests) if found["metadata"]["name"] == "topics")
    variables = {found["name"]: found["value"] for found in topics["spec"]["containers"][0]["env"]}
    assert (variables["TOPICS_PARTITIONS"], variables["TOPICS_REPLICATION"]) == (str(PARTITIONS), str(duplicates))
    # Each node with a replica holds twelve partitions, the dead letters, and an open segment of each.
    kept = (PARTITIONS + 1) * int(variables["TOPICS_RETENTION_BYTES"])
    volume = kafka["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"]
    assert kept * duplicates / nodes <= 0.7 * int(re.sub("Gi$", "", volume)) * 2**30


def test_members_of_mongodb_are_those_that_mongosetup_initiates(manifests: list[Manifest], build: str) -> None:
    found = {workload["metadata"]["name"]: (workload, template) for workload, template in workloads(manifests)}
    mongo, pod = found["mongo"]
    members = mongo["spec"]["replicas"]
    assert members == (1 if build == "local" else 3)
    variables = {each["name"]: each.get("value") for each in found["mongosetup"][1]["spec"]["containers"][0]["env"]}
    # A variable can refer only to earlier ones.
    assert list(variables) == ["POD_NAMESPACE", "MONGOSETUP_MEMBERS"]
    named = MongoSettings.from_env({"MONGOSETUP_MEMBERS": variables["MONGOSETUP_MEMBERS"]}).members
    # Complete names, which are in /etc/hosts of each pod: the manifest of mongosetup has the reason.
    domain = "$(POD_NAMESPACE).svc.cluster.local"
    assert named == tuple(f"mongo-{number}.mongo.{domain}:27017" for number in range(members))
    arguments = pod["spec"]["containers"][0]["args"]
    assert arguments[arguments.index("--replSet") + 1] == REPLICA_SET
    # The set is created while no member is ready: all pods start at once, and their names resolve at once.
    assert mongo["spec"]["podManagementPolicy"] == "Parallel"
    [service] = [each for each in of_kind(manifests, "Service") if each["metadata"]["name"] == "mongo"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"]


def test_cache_of_mongodb_leaves_half_of_its_memory(manifests: list[Manifest]) -> None:
    pod = next(template for found, template in workloads(manifests) if found["metadata"]["name"] == "mongo")
    [container] = pod["spec"]["containers"]
    cache = float(container["args"][container["args"].index("--wiredTigerCacheSizeGB") + 1])
    assert 2 * cache <= int(container["resources"]["limits"]["memory"].removesuffix("Gi"))
