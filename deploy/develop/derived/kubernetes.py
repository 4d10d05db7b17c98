"""Write the lists in kubernetes/ from the catalog. Developers edit the manifests of the workloads.

The base lists the directory of every pod and the tag of every image. The component `release` has the tags of a release.
The components `gateway` and `ingress` have a route for every public name; `keda` has a scaler for every consumer and
for the workers; `network-policies` has a pair of policies for every container that others reach.
"""

import tomllib
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import yaml

from deploy.catalog import INTERNAL_PORT, Catalog, Container
from deploy.paths import ROOT
from services.backbone import names

_HEAD = "# `python3 tasks.py derived.write` writes this file from deploy/catalog.toml.\n"
_DOMAIN = "example.org"
"""The domain of the public names in git. cloud.generate replaces it."""
_LAG_OF_ONE = "20000"
"""Events that one consumer counts in a few seconds. KEDA adds a replica when the lag for each replica is higher."""
_QUEUE_OF_ONE = "100"
"""Tasks that a worker of four processes runs in a second. KEDA adds a replica when the longest queue has more for each
replica. Each action consumer sends at most ACTIONS_IN_FLIGHT (500) tasks."""
_MOST_CONSUMERS = 12
"""The number of partitions."""
_MOST_WORKERS = 6
"""With four processes each, 24 requests to storage at a time."""


def base_text(listed: Catalog) -> str:
    """Return kubernetes/base/kustomization.yaml."""
    built_in = [found for found in listed.containers.values() if not found.profile]
    pinned = dict.fromkeys(listed.images[found.image] for found in built_in if found.image)
    own = [f"push/{service}:dev" for service in listed.services]
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["settings", *dict.fromkeys(_home(found) for found in built_in)],
        # No selector may contain these labels, because they change with a release.
        "labels": [
            {
                "pairs": {"app.kubernetes.io/part-of": "push", "app.kubernetes.io/managed-by": "kustomize"},
                "includeTemplates": True,
            }
        ],
        # The requirements of Pod Security "restricted" for a pod.
        "patches": [{"path": "restricted-pod.yaml", "target": {"kind": "Deployment|StatefulSet|Job"}}],
        "images": _tags([*pinned, *own]),
    }
    about = (
        "# Every container of the catalog, sized for a cluster of several nodes. An overlay adds the namespace and\n"
        "# the sizes of one cluster. A component adds a feature that only some clusters use.\n"
    )
    return _HEAD + about + _dump([kustomization])


def release_text(listed: Catalog) -> str:
    """Return kubernetes/components/release/kustomization.yaml: our images at the version of pyproject.toml."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    component = {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "images": _tags(f"push/{service}:{version}" for service in listed.services),
    }
    return _HEAD + _dump([component])


def gateway_text(listed: Catalog) -> str:
    """Return the HTTPRoutes of all public names, and their certificate."""
    routes = [
        {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": {"name": found.name},
            "spec": {
                "parentRefs": [{"name": "push", "sectionName": "https"}],
                "hostnames": list(_hosts(found)),
                "rules": [{"backendRefs": [{"name": found.name, "port": found.port}]}],
            },
        }
        for found in _public(listed)
    ]
    return _HEAD + _dump([_certificate(listed), *routes])


def ingress_text(listed: Catalog) -> str:
    """Return the Ingresses of all public names, and their certificate."""
    return _HEAD + _dump([_certificate(listed), *(_ingress(found) for found in _public(listed))])


def keda_text(listed: Catalog) -> str:
    """Return a scaler and a disruption budget for every consumer and every kind of worker."""
    documents: list[dict[str, Any]] = []
    for found in listed.containers.values():
        if found.scales_by_lag:
            documents += _scaler(found, [_lag_trigger(found)], most=_MOST_CONSUMERS)
        elif found.scales_by_queues:
            documents += _scaler(found, _queue_triggers(listed), most=_MOST_WORKERS)
    return _HEAD + _dump(documents)


def policies_text(listed: Catalog) -> str:
    """Return the policies that let a pod with the label of an edge reach its target, at the port of the catalog."""
    edges = [(target.name, target, target.port) for target in _reached(listed)]
    edges += [(f"{target.name}-internal", target, INTERNAL_PORT) for target in _asked(listed)]
    return _HEAD + _dump(policy for name, target, port in edges for policy in _edge(listed, name, target, port))


def _reached(listed: Catalog) -> list[Container]:
    """Return the containers that a container of another pod reaches at their port."""
    # Prometheus reaches internal ports. A separate policy allows this for all services at once.
    edges = [
        (found.name, target)
        for found in listed.containers.values()
        if found.image != "prometheus"
        for target in found.reaches
    ]
    across_pods = {target for name, target in edges if listed.pod_of(name) != listed.pod_of(target)}
    return [found for found in listed.containers.values() if found.name in across_pods]


def _asked(listed: Catalog) -> list[Container]:
    """Return the containers whose internal port a container of another pod connects to."""
    asked = {
        target
        for found in listed.containers.values()
        for target in found.reaches_internal
        if listed.pod_of(found.name) != listed.pod_of(target)
    }
    return [found for found in listed.containers.values() if found.name in asked]


def _edge(listed: Catalog, name: str, target: Container, port: int) -> Iterator[dict[str, Any]]:
    clients = {"podSelector": {"matchLabels": {f"push-reaches/{name}": "true"}}}
    pod = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": listed.pod_of(target.name)}}}
    ports = [{"port": port}]
    yield _policy(name, pod, {"policyTypes": ["Ingress"], "ingress": [{"from": [clients], "ports": ports}]})
    yield _policy(f"reaches-{name}", clients, {"policyTypes": ["Egress"], "egress": [{"to": [pod], "ports": ports}]})


def _policy(name: str, subject: dict[str, Any], rules: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {**subject, **rules},
    }


def _home(container: Container) -> str:
    """Return the directory of the pod that runs a container."""
    return container.pod or container.service or container.name


def _tags(images: Iterable[str]) -> list[dict[str, str]]:
    return [{"name": image.rpartition(":")[0], "newTag": image.rpartition(":")[2]} for image in images]


def _public(listed: Catalog) -> list[Container]:
    return [found for found in listed.containers.values() if found.host]


def _hosts(container: Container) -> Iterator[str]:
    return (f"{host}.{_DOMAIN}" for host in container.host)


def _certificate(listed: Catalog) -> dict[str, Any]:
    return {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": "push"},
        "spec": {
            "secretName": "push-tls",
            "issuerRef": {"name": "push", "kind": "Issuer"},
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            "dnsNames": [host for found in _public(listed) for host in _hosts(found)],
        },
    }


def _ingress(container: Container) -> dict[str, Any]:
    backend = {"service": {"name": container.name, "port": {"name": "http"}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": container.name},
        "spec": {
            "tls": [{"secretName": "push-tls", "hosts": list(_hosts(container))}],
            "rules": [{"host": host, "http": {"paths": paths}} for host in _hosts(container)],
        },
    }


def _lag_trigger(container: Container) -> dict[str, Any]:
    metadata = {
        "bootstrapServers": "kafka.push.svc:9092",
        "consumerGroup": names.consumer_group(container.arguments[0]),
        "topic": names.EVENTS_TOPIC,
        "lagThreshold": _LAG_OF_ONE,
        "offsetResetPolicy": "earliest",
    }
    return {"type": "kafka", "metadata": metadata}


def _queue_triggers(listed: Catalog) -> list[dict[str, Any]]:
    """Return a trigger for the queue of each handler.

    The lag is no measure for workers: it also grows while storage is away, when more workers help nobody.
    """
    redis = urlsplit(listed.addresses["ACTIONS_REDIS_URL"])
    metadata = {
        "address": f"{redis.hostname}.push.svc:{redis.port}",
        "databaseIndex": redis.path.removeprefix("/"),
        "listLength": _QUEUE_OF_ONE,
    }
    return [
        {"type": "redis", "metadata": {**metadata, "listName": names.action_queue(handler)}}
        for handler in listed.handlers
    ]


def _scaler(container: Container, triggers: list[dict[str, Any]], *, most: int) -> Iterator[dict[str, Any]]:
    yield {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": container.name},
        "spec": {
            "scaleTargetRef": {"name": container.name},
            "minReplicaCount": 2,
            "maxReplicaCount": most,
            # Every new member causes a rebalance, which pauses the group. So scale up at once, but scale down slowly.
            "cooldownPeriod": 600,
            "advanced": {
                "horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}}}
            },
            "triggers": triggers,
        },
    }
    selector = {"app.kubernetes.io/name": container.name, "app.kubernetes.io/instance": "push"}
    yield {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {
            "name": container.name,
            "labels": {"app.kubernetes.io/name": container.name, "app.kubernetes.io/component": container.kind},
        },
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector}},
    }


class _Dumper(yaml.SafeDumper):
    """Writes no anchors, because several documents may contain the same value."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _dump(documents: Iterable[Any]) -> str:
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=120)
