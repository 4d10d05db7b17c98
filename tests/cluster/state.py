"""The state of the tests' API server: objects, server-side apply, and workloads that start or report an error.

Like a real server it rejects unknown fields, wrong types and changes of immutable fields. Unlike a real one it has no
defaults, no conflicts between managers and no nodes: a pod is ready soon after its creation.
"""

import copy
import itertools
import json
import re
import time
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import kubernetes_validate

Object = dict[str, Any]

KINDS: dict[str, dict[str, tuple[str, bool]]] = {
    # group and version: kind: plural, namespaced
    "v1": {
        "Namespace": ("namespaces", False),
        "ServiceAccount": ("serviceaccounts", True),
        "Secret": ("secrets", True),
        "ConfigMap": ("configmaps", True),
        "Service": ("services", True),
        "Pod": ("pods", True),
        "Event": ("events", True),
        "PersistentVolumeClaim": ("persistentvolumeclaims", True),
        "PersistentVolume": ("persistentvolumes", False),
    },
    "apps/v1": {"Deployment": ("deployments", True), "StatefulSet": ("statefulsets", True)},
    "batch/v1": {"Job": ("jobs", True)},
    "rbac.authorization.k8s.io/v1": {"Role": ("roles", True), "RoleBinding": ("rolebindings", True)},
    "policy/v1": {"PodDisruptionBudget": ("poddisruptionbudgets", True)},
    "autoscaling/v2": {"HorizontalPodAutoscaler": ("horizontalpodautoscalers", True)},
    "networking.k8s.io/v1": {"NetworkPolicy": ("networkpolicies", True), "Ingress": ("ingresses", True)},
}
OPERATORS = {
    "gateway.networking.k8s.io/v1": {"Gateway": ("gateways", True), "HTTPRoute": ("httproutes", True)},
    "cert-manager.io/v1": {"Issuer": ("issuers", True), "Certificate": ("certificates", True)},
    "keda.sh/v1alpha1": {"ScaledObject": ("scaledobjects", True)},
    "metrics.k8s.io/v1beta1": {"PodMetrics": ("pods", True)},
}
_CHANGEABLE = {
    "StatefulSet": {
        "replicas",
        "template",
        "updateStrategy",
        "minReadySeconds",
        "ordinals",
        "persistentVolumeClaimRetentionPolicy",
    },
    "Job": {"parallelism", "suspend", "activeDeadlineSeconds", "ttlSecondsAfterFinished"},
}
_FIXED = {"Deployment": {"selector"}, "Service": {"clusterIP"}}


class Refusal(Exception):
    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class Key(NamedTuple):
    version: str
    plural: str
    namespace: str
    name: str


@dataclass
class State:
    """One cluster. It is not thread-safe: the server holds a lock around each call."""

    version: str = "1.37"
    operators: bool = True
    ready_after_s: float = 0.1
    unpullable: set[str] = field(default_factory=set)
    """Images that cannot be pulled."""
    expandable: bool = True
    """Whether the storage class allows expansion."""
    crashing: set[str] = field(default_factory=set)
    """Containers that exit repeatedly."""
    objects: dict[Key, Object] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    """The requests in order: `apply configmaps/a`, `delete ...`."""
    _applied: dict[tuple[Key, str], Object] = field(default_factory=dict)
    _versions: Any = field(default_factory=lambda: itertools.count(1))
    _made_s: dict[Key, float] = field(default_factory=dict)

    @property
    def kinds(self) -> dict[str, dict[str, tuple[str, bool]]]:
        return {**KINDS, **(OPERATORS if self.operators else {})}

    def kind_of(self, version: str, plural: str) -> str:
        for kind, (name, _) in self.kinds.get(version, {}).items():
            if name == plural:
                return kind
        raise Refusal(404, "NotFound", "the server could not find the requested resource")

    # requests of a client -----------------------------------------------------------------------------------

    def get(self, key: Key) -> Object:
        self._advance()
        if key not in self.objects:
            raise Refusal(404, "NotFound", f'{key.plural} "{key.name}" not found')
        return self.objects[key]

    def list(self, version: str, plural: str, namespace: str, labels: str) -> list[Object]:
        self._advance()
        return [
            found
            for key, found in sorted(self.objects.items())
            if (key.version, key.plural) == (version, plural)
            and namespace in ("", key.namespace)
            and all(_matches(wanted, found["metadata"].get("labels", {})) for wanted in labels.split(",") if wanted)
        ]

    def apply(self, key: Key, wanted: Object, manager: str, *, dry_run: bool) -> Object:
        self._advance()
        self._validate(key, wanted)
        live = self.objects.get(key)
        if live is not None and key.plural == "persistentvolumeclaims" and not self.expandable:
            message = "only dynamically provisioned pvc can be resized and the storageclass must support resize"
            raise Refusal(403, "Forbidden", message)
        previous = self._applied.get((key, manager), {})
        merged = _merged(live or {}, previous, wanted)
        if live is not None:
            _refuse_fixed(live, merged)
        if dry_run:
            return merged
        self._applied[key, manager] = copy.deepcopy(wanted)
        self.log.append(f"apply {key.plural}/{key.name}")
        if live is None:
            self._create(key, merged)
        else:
            self._change(key, merged)
        return self.objects[key]

    def patch(self, key: Key, change: Object) -> Object:
        """Merge maps. This is enough for the annotations that kubectl changes with it."""
        self._change(key, _merged(self.get(key), {}, change))
        return self.objects[key]

    def delete(self, key: Key, *, orphan: bool) -> str:
        """Delete an object, or mark it for deletion. Return its uid, which differs from that of its successor."""
        found = self.get(key)
        uid = str(found["metadata"]["uid"])
        self.log.append(f"delete {key.plural}/{key.name}")
        if key.plural in ("pods", "namespaces") or orphan:
            # These are deleted later, and have a deletion timestamp until then.
            found["metadata"].setdefault("deletionTimestamp", "2026-01-01T00:00:00Z")
            self._made_s[key] = time.monotonic()
            if key.plural == "namespaces":
                for inner in [each for each in self.objects if each.namespace == key.name]:
                    self._remove(inner)
            return uid
        self._remove(key)
        for pod in [each for each, found in self.objects.items() if self._owner(each) == (key.plural, key.name)]:
            self.objects[pod]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            self._made_s[pod] = time.monotonic()
        return uid

    # controllers -------------------------------------------------------------------------------------------

    def _validate(self, key: Key, wanted: Object) -> None:
        if key.namespace and Key("v1", "namespaces", "", key.namespace) not in self.objects:
            raise Refusal(404, "NotFound", f'namespaces "{key.namespace}" not found')
        if wanted.get("apiVersion") in OPERATORS:
            return
        refused = _refused(json.dumps(wanted), self.version)
        if refused:
            raise Refusal(*refused)

    def _create(self, key: Key, made: Object) -> None:
        made["metadata"] |= {"generation": 1, "uid": f"uid-{next(self._versions)}", "creationTimestamp": _now()}
        if key.plural == "pods":
            del made["metadata"]["generation"]
        self._made_s[key] = time.monotonic()
        self._write(key, made)

    def _change(self, key: Key, changed: Object) -> None:
        live = self.objects[key]
        if _without_status(live) == _without_status(changed):
            return
        if live.get("spec") != changed.get("spec"):
            changed["metadata"]["generation"] = live["metadata"].get("generation", 1) + 1
        self._write(key, changed)

    def _write(self, key: Key, found: Object) -> None:
        found["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[key] = found

    def _remove(self, key: Key) -> None:
        self.objects.pop(key, None)
        for applied in [each for each in self._applied if each[0] == key]:
            del self._applied[applied]

    def _owner(self, pod: Key) -> tuple[str, str]:
        owners = self.objects[pod]["metadata"].get("ownerReferences", ()) if pod.plural == "pods" else ()
        return (owners[0]["kind"].lower() + "s", owners[0]["name"]) if owners else ("", "")

    def _advance(self) -> None:
        """Run the controllers once: remove deleted objects, start pods, update workloads."""
        now_s = time.monotonic()
        for key, found in list(self.objects.items()):
            if "deletionTimestamp" in found["metadata"] and now_s - self._made_s[key] > self.ready_after_s:
                self._remove(key)
        for key, found in list(self.objects.items()):
            if key.plural in ("deployments", "statefulsets", "jobs") and "deletionTimestamp" not in found["metadata"]:
                self._control(key, found)

    def _control(self, key: Key, workload: Object) -> None:
        """Make the pods of a workload and copy their status to it."""
        template = workload["spec"]["template"]
        revision = f"{abs(hash(repr(template))) % 10**8:08d}"
        replicas = 1 if key.plural == "jobs" else workload["spec"].get("replicas", 1)
        names = [
            f"{key.name}-{n}" if key.plural == "statefulsets" else f"{key.name}-{revision}-{n}" for n in range(replicas)
        ]
        pods = [Key("v1", "pods", key.namespace, name) for name in names]
        mine = [each for each in self.objects if self._owner(each) == (key.plural, key.name)]
        for pod in mine:
            stale = self.objects[pod]["metadata"]["labels"].get("test/revision") != revision
            if pod not in pods or stale:
                self._remove(pod)
        for pod in pods:
            if pod not in self.objects:
                metadata = {
                    "name": pod.name,
                    "namespace": pod.namespace,
                    "labels": {**template["metadata"].get("labels", {}), "test/revision": revision},
                    "ownerReferences": [{"kind": workload["kind"], "name": key.name}],
                }
                spec = {**copy.deepcopy(template["spec"]), "nodeName": "node-1"}
                self._create(pod, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
            self.objects[pod]["status"] = self._pod_status(pod)
        self._claims(key, workload, replicas)
        ready = sum(_is_ready(self.objects[pod]) for pod in pods)
        if key.plural == "jobs":
            status: Object = {"succeeded": ready}
            gave_up = bool(workload.get("status", {}).get("conditions"))
            if gave_up or any(found["name"] in self.crashing for found in template["spec"]["containers"]):
                status["conditions"] = [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]
        else:
            status = {
                "observedGeneration": workload["metadata"]["generation"],
                "replicas": replicas,
                "updatedReplicas": replicas,
                "readyReplicas": ready,
                "availableReplicas": ready,
            }
        if workload.get("status") != status:
            workload["status"] = status
            self._write(key, workload)

    def _claims(self, key: Key, workload: Object, replicas: int) -> None:
        for template in workload["spec"].get("volumeClaimTemplates", ()):
            for number in range(replicas):
                name = f"{template['metadata']['name']}-{key.name}-{number}"
                claim = Key("v1", "persistentvolumeclaims", key.namespace, name)
                if claim in self.objects:
                    continue
                labels = {**template["metadata"].get("labels", {}), **workload["spec"]["selector"]["matchLabels"]}
                metadata = {"name": name, "namespace": key.namespace, "labels": labels}
                made = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata}
                self._create(claim, {**made, "spec": copy.deepcopy(template["spec"])})

    def _pod_status(self, pod: Key) -> Object:
        spec = self.objects[pod]["spec"]
        up = time.monotonic() - self._made_s[pod] > self.ready_after_s
        waiting = {
            container["name"]: self._fault(pod.namespace, container) if up else ("ContainerCreating", "")
            for container in (*spec.get("initContainers", ()), *spec["containers"])
        }
        phase = "Running" if not any(reason for reason, _ in waiting.values()) else "Pending"
        return {
            "phase": phase,
            "podIP": "10.0.0.1",
            "initContainerStatuses": [
                _container_status(found["name"], *waiting[found["name"]]) for found in spec.get("initContainers", ())
            ],
            "containerStatuses": [
                _container_status(found["name"], *waiting[found["name"]]) for found in spec["containers"]
            ],
        }

    def _fault(self, namespace: str, container: Object) -> tuple[str, str]:
        if container["image"] in self.unpullable:
            return "ImagePullBackOff", f'Back-off pulling image "{container["image"]}": not found'
        for source in container.get("envFrom", ()):
            name = source.get("configMapRef", {}).get("name", "")
            if name and Key("v1", "configmaps", namespace, name) not in self.objects:
                return "CreateContainerConfigError", f'configmap "{name}" not found'
        for variable in container.get("env", ()):
            wanted = variable.get("valueFrom", {}).get("secretKeyRef", {})
            if wanted and not wanted.get("optional"):
                secret = self.objects.get(Key("v1", "secrets", namespace, wanted["name"]), {})
                if wanted["key"] not in secret.get("data", {}):
                    message = f"couldn't find key {wanted['key']} in Secret {namespace}/{wanted['name']}"
                    return "CreateContainerConfigError", message
        if container["name"] in self.crashing:
            return "CrashLoopBackOff", "back-off 10s restarting failed container"
        return "", ""


def _matches(wanted: str, labels: dict[str, str]) -> bool:
    name, unequal, value = wanted.partition("!=")
    if unequal:
        return labels.get(name) != value
    name, _, value = wanted.partition("=")
    return labels.get(name) == value


@cache
def _refused(manifest: str, version: str) -> tuple[int, str, str] | None:
    """Return the error with which a real server rejects a manifest. Results are cached, since manifests repeat."""
    wanted = json.loads(manifest)
    try:
        kubernetes_validate.validate(wanted, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        place = ".".join(str(step) for step in error.path)
        unknown = re.search(r"\('(\w+)' was unexpected\)", error.message)
        if unknown:
            path = f"{place}.{unknown[1]}".lstrip(".")
            return 400, "BadRequest", f'strict decoding error: unknown field "{path}"'
        return 422, "Invalid", f"{wanted['kind']} {wanted['metadata']['name']!r} is invalid: {place}: {error.message}"
    return None


def _container_status(name: str, reason: str, message: str) -> Object:
    if not reason:
        return {"name": name, "ready": True, "restartCount": 0, "state": {"running": {}}}
    status: Object = {"name": name, "ready": False, "restartCount": 0}
    status["state"] = {"waiting": {"reason": reason, "message": message}}
    if reason == "CrashLoopBackOff":
        status |= {"restartCount": 4, "lastState": {"terminated": {"exitCode": 78}}}
    return status


def _is_ready(pod: Object) -> bool:
    return all(
        status["ready"] for status in pod["status"]["initContainerStatuses"] + pod["status"]["containerStatuses"]
    )


def _refuse_fixed(live: Object, merged: Object) -> None:
    kind, before, after = live["kind"], live.get("spec", {}), merged.get("spec", {})
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    fixed = changed - _CHANGEABLE[kind] if kind in _CHANGEABLE else changed & _FIXED.get(kind, set())
    if fixed:
        name = live["metadata"]["name"]
        message = f'{kind} "{name}" is invalid: spec.{min(fixed)}: Invalid value: field is immutable'
        raise Refusal(422, "Invalid", message)


def _merged(live: Object, previous: Object, wanted: Object) -> Object:
    """Return the object without the fields that its manager no longer applies, and with those that it applies now."""
    result = copy.deepcopy(live)
    for name, value in previous.items():
        if name not in wanted:
            result.pop(name, None)
        elif isinstance(value, dict) and isinstance(wanted[name], dict) and isinstance(result.get(name), dict):
            result[name] = _merged(result[name], value, wanted[name])
    for name, value in wanted.items():
        if isinstance(value, dict) and isinstance(result.get(name), dict):
            result[name] = _merged(result[name], {}, value)
        else:
            result[name] = copy.deepcopy(value)
    return result


def _without_status(found: Object) -> Object:
    return {name: value for name, value in found.items() if name != "status"}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
