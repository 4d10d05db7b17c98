"""The connections that network policies allow between pods, by the rules of Kubernetes.

The policies of both pods must allow a connection. A pod without a matching rule allows none.
"""

from typing import Any

from deploy.cluster.api import Manifest

Edge = tuple[str, str, int]


def allowed(policies: list[Manifest], pods: dict[str, dict[str, Any]]) -> set[Edge]:
    """Return each allowed (from, to, port), over all pairs of pods and all ports of the second.

    A connection to a public port is returned only if the policies of the first pod allow it.
    """
    return {
        (source, target, port["containerPort"])
        for source in pods
        for target in pods
        for port in _ports(pods[target])
        if _permits(policies, pods, "Egress", source, target, port)
        and _permits(policies, pods, "Ingress", target, source, port)
    }


def _permits(  # noqa: PLR0917 - the two ends and what is between them
    policies: list[Manifest],
    pods: dict[str, dict[str, Any]],
    direction: str,
    subject: str,
    other: str,
    port: dict[str, Any],
) -> bool:
    """Return whether the policies of one pod allow the other pod."""
    selecting = [
        policy["spec"]
        for policy in policies
        if direction in policy["spec"]["policyTypes"] and _selects(policy["spec"]["podSelector"], pods[subject])
    ]
    if not selecting:
        return True
    rules = [rule for spec in selecting for rule in spec.get(direction.lower(), ())]
    peers = "to" if direction == "Egress" else "from"
    return any(_peer(rule.get(peers), pods[other]) and _port(rule.get("ports"), port) for rule in rules)


def _peer(peers: list[dict[str, Any]] | None, pod: dict[str, Any]) -> bool:
    """Return whether a peer matches the pod. A missing list matches all pods. A peer of another namespace matches no
    pod."""
    if peers is None:
        return True
    return any(
        "namespaceSelector" not in peer and "ipBlock" not in peer and _selects(peer["podSelector"], pod)
        for peer in peers
    )


def _port(ports: list[dict[str, Any]] | None, port: dict[str, Any]) -> bool:
    return ports is None or any(found["port"] in (port["containerPort"], port["name"]) for found in ports)


def _selects(selector: dict[str, Any], pod: dict[str, Any]) -> bool:
    labels: dict[str, str] = pod["metadata"]["labels"]
    return set(selector.get("matchLabels", {}).items()) <= set(labels.items())


def _ports(pod: dict[str, Any]) -> list[dict[str, Any]]:
    containers = [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
    return [port for found in containers for port in found.get("ports", ())]
