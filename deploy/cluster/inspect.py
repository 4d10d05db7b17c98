"""Inspect a namespace: its pods, their logs, and their resources."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from rich.table import Table

from deploy.cluster import rollouts
from deploy.cluster.api import Api, ApiRejection, Manifest
from deploy.errors import OperatorError

_OURS = "app.kubernetes.io/part-of=push"


def pods(api: Api, namespace: str) -> Table:
    """Return the table of all pods: ready containers, error or phase, restarts."""
    table = _table("pod", "ready", "state", "restarts", "age", "node")
    now = datetime.now(UTC)
    for pod in _pods(api, namespace):
        statuses = [*pod["status"].get("initContainerStatuses", ()), *pod["status"].get("containerStatuses", ())]
        ready = sum(status.get("ready", False) for status in statuses)
        table.add_row(
            pod["metadata"]["name"],
            f"{ready}/{len(statuses)}",
            rollouts.pod_fault(pod) or rollouts.unscheduled([pod]) or pod["status"].get("phase", "?"),
            str(sum(status.get("restartCount", 0) for status in statuses)),
            _age(pod["metadata"].get("creationTimestamp", ""), now),
            pod["spec"].get("nodeName", "-"),
        )
    return table


def logs(api: Api, namespace: str, *, container: str, tail: int) -> Iterator[str]:
    """Yield the last lines of every container of this name, prefixed with the name of its pod."""
    found = [pod for pod in _pods(api, namespace) if container in _container_names(pod)]
    if not found:
        known = sorted({name for pod in _pods(api, namespace) for name in _container_names(pod)})
        raise OperatorError(f"no container {container!r} runs in {namespace}. Running: {', '.join(known) or 'none'}.")
    for pod in found:
        name = pod["metadata"]["name"]
        try:
            text = api.log(name, namespace, container=container, tail=tail)
        except ApiRejection as rejection:
            yield f"{name}  ({rejection})"
            continue
        yield from (f"{name}  {line}" for line in text.splitlines())


class _Use(NamedTuple):
    cpu: str
    memory: str


def resources(api: Api, namespace: str) -> Table:
    """Return the table of each container's requests, limits and usage. Usage needs metrics-server."""
    table = _table("pod", "container", "cpu request", "cpu used", "memory request", "memory limit", "memory used")
    used = _usage(api, namespace)
    for pod in _pods(api, namespace):
        name = pod["metadata"]["name"]
        for container in _containers(pod):
            asked = container.get("resources", {}).get("requests", {})
            limits = container.get("resources", {}).get("limits", {})
            use = used.get((name, container["name"]), _Use("-", "-"))
            table.add_row(
                name,
                container["name"],
                asked.get("cpu", "-"),
                use.cpu,
                asked.get("memory", "-"),
                limits.get("memory", "-"),
                use.memory,
            )
    return table


def _usage(api: Api, namespace: str) -> dict[tuple[str, str], _Use]:
    if not api.serves("metrics.k8s.io/v1beta1", "PodMetrics"):
        return {}
    return {
        (pod["metadata"]["name"], container["name"]): _Use(container["usage"]["cpu"], container["usage"]["memory"])
        for pod in api.list("metrics.k8s.io/v1beta1", "PodMetrics", namespace)
        for container in pod["containers"]
    }


def _pods(api: Api, namespace: str) -> list[dict[str, Any]]:
    return sorted(api.list("v1", "Pod", namespace, labels=_OURS), key=lambda pod: str(pod["metadata"]["name"]))


def _containers(pod: Manifest) -> Sequence[Manifest]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def _container_names(pod: Manifest) -> list[str]:
    return [container["name"] for container in _containers(pod)]


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _age(created: str, now: datetime) -> str:
    if not created:
        return "-"
    seconds = int((now - datetime.fromisoformat(created)).total_seconds())
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{max(0, seconds)}s"
