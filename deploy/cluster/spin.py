"""Spinning up and down: an overlay is applied in order, waited for, and taken away again."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from deploy.cluster import overlay, rollouts, volumes
from deploy.cluster.api import Api, ApiRejection, Manifest, UnknownKind, reference, title
from deploy.errors import OperatorError

Tell = Callable[[str], None]
_LOOK_EVERY_S = 1.0
_UNPROCESSABLE = 422
_KEPT_KINDS = ("Namespace", "Secret")
_RUNNING_KINDS = (*overlay.WORKLOADS, "HorizontalPodAutoscaler", "ScaledObject")
_OURS = "app.kubernetes.io/part-of=push"
_BOOKKEEPING = ("resourceVersion", "managedFields")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait."""

    timeout_s: float = 600.0
    """For all that was applied to be ready."""
    fault_s: float = 30.0
    """For a fault to heal: a registry that stumbles, a service that ends until its store is there."""


@dataclass
class _Watched:
    """One workload that is waited for."""

    manifest: Manifest
    told: str = ""
    trouble: str = ""
    """What keeps it now; a fault of them ends the wait when it does not heal."""
    fault_since_s: float = field(default_factory=time.monotonic)
    done: bool = False


def up(api: Api, manifests: Sequence[Manifest], tell: Tell, patience: Patience = Patience()) -> None:
    """Apply an overlay and wait until all of it is ready. What is as it should be already is not changed.

    Raises OperatorError with the reason when the cluster refuses something, or when a workload does not get ready.
    """
    namespace = overlay.namespace(manifests)
    tell(f"{len(manifests)} objects for namespace {namespace} of {api.context}")
    _require_kinds(api, manifests)
    _require_secrets(api, manifests, namespace)
    for manifest in manifests:
        tell(f"{_applied(api, manifest, tell):<9} {title(manifest)}")
    _wait(api, [_Watched(found) for found in manifests if found["kind"] in overlay.WORKLOADS], tell, patience)
    tell("all ready")


def down(
    api: Api, manifests: Sequence[Manifest], tell: Tell, patience: Patience = Patience(), *, with_volumes: bool
) -> None:
    """Delete what an overlay made, the last first; the namespace, the secrets and the volumes stay.

    `with_volumes`: the claims of its StatefulSets go too, and with them all data.
    """
    namespace = overlay.namespace(manifests)
    gone = [found for found in reversed(manifests) if found["kind"] not in _KEPT_KINDS]
    # The stores last: trackers bring what they hold to Kafka before they end.
    first = [found for found in gone if found["kind"] in _RUNNING_KINDS and not _is_store(found)]
    _delete(api, first, tell)
    _wait_until_ended(api, namespace, patience, stores=False)
    _delete(api, [found for found in gone if found not in first], tell)
    # ConfigMaps of earlier settings have other names; they are known by what all of them carry.
    _delete(api, [_of(found, "ConfigMap") for found in api.list("v1", "ConfigMap", namespace, labels=_OURS)], tell)
    _wait_until_ended(api, namespace, patience, stores=True)
    claims = [
        _of(found, "PersistentVolumeClaim")
        for found in api.list("v1", "PersistentVolumeClaim", namespace, labels=_OURS)
    ]
    if with_volumes:
        _delete(api, claims, tell)
    elif claims:
        tell(f"kept      {len(claims)} volumes: {', '.join(_names(claims))} (--volumes deletes them)")


def _delete(api: Api, manifests: Sequence[Manifest], tell: Tell) -> None:
    for manifest in manifests:
        # Of a kind that the cluster does not know, nothing is there.
        if api.serves(manifest["apiVersion"], manifest["kind"]) and api.delete(manifest):
            tell(f"deleted   {title(manifest)}")


def _wait_until_ended(api: Api, namespace: str, patience: Patience, *, stores: bool) -> None:
    """Wait until no pod is left, those of the stores too or only the others."""
    wanted = _OURS if stores else f"{_OURS},app.kubernetes.io/component!=store"
    deadline_s = time.monotonic() + patience.timeout_s
    while pods := api.list("v1", "Pod", namespace, labels=wanted):
        if time.monotonic() > deadline_s:
            raise OperatorError(f"{len(pods)} pods have not ended: {', '.join(_names(pods))}")
        time.sleep(min(_LOOK_EVERY_S, patience.fault_s))


def _is_store(manifest: Manifest) -> bool:
    labels: dict[str, str] = manifest["metadata"].get("labels", {})
    return labels.get("app.kubernetes.io/component") == "store"


def _of(found: Manifest, kind: str) -> Manifest:
    return reference("v1", kind, found["metadata"]["name"], found["metadata"]["namespace"])


def _applied(api: Api, manifest: Manifest, tell: Tell) -> str:
    """Apply one manifest; say in a word what that did."""
    before = api.get(manifest)
    if before is not None and manifest["kind"] == "StatefulSet":
        sizes = volumes.grown(before, manifest)
        if sizes:
            tell(f"growing   {', '.join(volumes.grow(api, manifest, sizes))}")
            return "anew"
    if before is not None and manifest["kind"] == "Job" and rollouts.has_failed(before):
        api.replace(manifest)
        return "replaced"
    try:
        after = api.apply(manifest)
    except ApiRejection as rejection:
        if rejection.status != _UNPROCESSABLE or manifest["kind"] != "Job" or before is None:
            raise
        api.replace(manifest)  # a Job can't be altered
        return "replaced"
    if before is None:
        return "created"
    return "unchanged" if _as_told(before) == _as_told(after) else "changed"


def _as_told(found: Manifest) -> dict[str, Any]:
    """Return an object without what the cluster itself writes into it, meanwhile or because it was asked."""
    metadata = {key: value for key, value in found["metadata"].items() if key not in _BOOKKEEPING}
    return {**{key: value for key, value in found.items() if key != "status"}, "metadata": metadata}


def _require_kinds(api: Api, manifests: Sequence[Manifest]) -> None:
    """Raise OperatorError, before anything is applied, unless the cluster knows every kind."""
    unknown: dict[str, None] = {}  # a set that keeps its order
    for manifest in manifests:
        try:
            api.require(manifest)
        except UnknownKind as error:
            unknown[str(error)] = None
    if unknown:
        raise OperatorError("; ".join(unknown))


def _require_secrets(api: Api, manifests: Sequence[Manifest], namespace: str) -> None:
    """Raise OperatorError unless every key is there that a container can't start without."""
    for name, keys in sorted(overlay.secret_keys(manifests).items()):
        found = api.get(reference("v1", "Secret", name, namespace)) or {}
        missing = keys - found.get("data", {}).keys()
        if missing:
            raise OperatorError(
                f"the Secret {name} in namespace {namespace} lacks {', '.join(sorted(missing))}: "
                "run `python3 tasks.py kubernetes.secrets.load`"
            )


def _wait(api: Api, watched: Sequence[_Watched], tell: Tell, patience: Patience) -> None:
    deadline_s = time.monotonic() + patience.timeout_s
    while True:
        for each in watched:
            if not each.done:
                _look(api, each, tell, patience)
        waiting = [each for each in watched if not each.done]
        if not waiting:
            return
        if time.monotonic() > deadline_s:
            late = ", ".join(
                f"{title(each.manifest)} ({each.trouble or each.told or 'nothing yet'})" for each in waiting
            )
            raise OperatorError(f"not ready after {patience.timeout_s:.0f} s: {late}")
        time.sleep(min(_LOOK_EVERY_S, patience.fault_s / 2))


def _look(api: Api, each: _Watched, tell: Tell, patience: Patience) -> None:
    """Tell how far a workload has come when that has changed. Raises OperatorError when its fault does not heal."""
    workload = api.get(each.manifest)
    if workload is None:
        raise OperatorError(f"{title(each.manifest)} has gone while it was waited for")
    progress = rollouts.progress(workload)
    each.done = progress.done
    if str(progress) != each.told:
        each.told = str(progress)
        tell(f"{'ready' if each.done else 'waiting':<9} {title(each.manifest)} {progress}")
    if each.done:
        return
    pods = _pods_of(api, workload)
    fault = rollouts.fault(workload, pods, _events_of(api, workload))
    now_s = time.monotonic()
    if not fault:
        each.fault_since_s = now_s
    trouble = fault or rollouts.unscheduled(pods)
    if trouble and trouble != each.trouble:
        tell(f"trouble   {title(each.manifest)}: {trouble}")
    each.trouble = trouble
    if fault and now_s - each.fault_since_s >= patience.fault_s:
        raise OperatorError(f"{title(each.manifest)} does not get ready: {fault}")


def _pods_of(api: Api, workload: Manifest) -> list[dict[str, Any]]:
    labels = (
        workload["spec"].get("selector", {}).get("matchLabels") or workload["spec"]["template"]["metadata"]["labels"]
    )
    namespace = workload["metadata"]["namespace"]
    return api.list(
        "v1", "Pod", namespace, labels=",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    )


def _events_of(api: Api, workload: Manifest) -> list[dict[str, Any]]:
    events = api.list("v1", "Event", workload["metadata"]["namespace"])
    involved = (workload["kind"], workload["metadata"]["name"])
    return [found for found in events if _involved(found) == involved]


def _involved(event: Manifest) -> tuple[str, str]:
    about = event.get("involvedObject", {})
    return about.get("kind", ""), about.get("name", "")


def _names(found: Sequence[Manifest]) -> list[str]:
    return sorted(each["metadata"]["name"] for each in found)
