"""Spin up and down: apply an overlay in order and wait for it, and delete it again."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from deploy.cluster import overlay, rollouts, volumes
from deploy.cluster.api import Api, ApiRejection, Manifest, UnknownKind, reference, title
from deploy.errors import OperatorError

Report = Callable[[str], None]
_POLL_S = 1.0
_UNPROCESSABLE = 422
_KEPT_KINDS = ("Namespace", "Secret", "PersistentVolumeClaim", "PersistentVolume")
_RUNNING_KINDS = (*overlay.WORKLOADS, "HorizontalPodAutoscaler", "ScaledObject")
_OURS = "app.kubernetes.io/part-of=push"
_BOOKKEEPING = ("resourceVersion", "managedFields")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Time limits."""

    timeout_s: float = 600.0
    """Time until all applied objects must be ready."""
    error_s: float = 30.0
    """Time until an error must disappear: for example of a registry, or of a service whose store is still down."""


@dataclass
class _Watched:
    """A workload that is being waited for."""

    manifest: Manifest
    reported: str = ""
    trouble: str = ""
    """The current error. It ends the wait when it does not disappear."""
    error_since_s: float = field(default_factory=time.monotonic)
    done: bool = False


def up(api: Api, manifests: Sequence[Manifest], report: Report, patience: Patience = Patience()) -> None:
    """Apply an overlay and wait until all of it is ready. Objects without differences are not changed.

    Raises OperatorError with the reason when the cluster rejects an object, or when a workload does not become ready.
    """
    namespace = overlay.namespace(manifests)
    report(f"{len(manifests)} objects for namespace {namespace} of {api.context}")
    _require_kinds(api, manifests)
    _require_secrets(api, manifests, namespace)
    for manifest in manifests:
        report(f"{_applied(api, manifest, report):<9} {title(manifest)}")
    _wait(api, [_Watched(found) for found in manifests if found["kind"] in overlay.WORKLOADS], report, patience)
    report("all ready")


def down(
    api: Api, manifests: Sequence[Manifest], report: Report, patience: Patience = Patience(), *, with_volumes: bool
) -> None:
    """Delete the objects of an overlay in reverse order. The namespace, the secrets and the volumes stay.

    With `with_volumes` its claims are deleted too, with all data. Raises OperatorError before anything is deleted when
    pods still mount a file server of the overlay: without their server, nodes can't unmount.
    """
    namespace = overlay.namespace(manifests)
    _require_unmounted(api, manifests)
    gone = [found for found in reversed(manifests) if found["kind"] not in _KEPT_KINDS]
    # Delete the stores last: the pods of trackers ship their events to Kafka before they end.
    first = [found for found in gone if found["kind"] in _RUNNING_KINDS and not _is_store(found)]
    _delete(api, first, report)
    _wait_until_ended(api, namespace, patience, stores=False)
    _delete(api, [found for found in gone if found not in first], report)
    # ConfigMaps of earlier settings have other names. Their labels identify them.
    _delete(api, [_of(found, "ConfigMap") for found in api.list("v1", "ConfigMap", namespace, labels=_OURS)], report)
    _wait_until_ended(api, namespace, patience, stores=True)
    claims = [
        _of(found, "PersistentVolumeClaim")
        for found in api.list("v1", "PersistentVolumeClaim", namespace, labels=_OURS)
    ]
    if with_volumes:
        _delete(api, claims, report)
        # A volume that was bound once accepts no other claim. The data of a file server stays there.
        _delete(api, [found for found in manifests if found["kind"] == "PersistentVolume"], report)
    elif claims:
        report(f"kept      {len(claims)} volumes: {', '.join(_names(claims))} (--volumes deletes them)")


def _require_unmounted(api: Api, manifests: Sequence[Manifest]) -> None:
    """Raise OperatorError while pods run in a namespace whose volume is on a file server of the overlay."""
    addresses = {found["spec"].get("clusterIP") for found in manifests if found["kind"] == "Service"} - {None, "None"}
    for volume in api.list("v1", "PersistentVolume", "", labels=_OURS) if addresses else ():
        namespace = (volume["spec"].get("claimRef") or {}).get("namespace")
        if namespace is None or (volume["spec"].get("nfs") or {}).get("server") not in addresses:
            continue
        client = volume["metadata"]["labels"]["app.kubernetes.io/name"]
        if pods := api.list("v1", "Pod", namespace, labels=f"{_OURS},app.kubernetes.io/name={client}"):
            raise OperatorError(
                f"the file server is mounted by {', '.join(_names(pods))} of namespace {namespace}: "
                f"spin down the overlay of {client} there first"
            )


def _delete(api: Api, manifests: Sequence[Manifest], report: Report) -> None:
    for manifest in manifests:
        # The cluster has no objects of an unknown kind.
        if api.serves(manifest["apiVersion"], manifest["kind"]) and api.delete(manifest):
            report(f"deleted   {title(manifest)}")


def _wait_until_ended(api: Api, namespace: str, patience: Patience, *, stores: bool) -> None:
    """Wait until the pods have ended, with or without the pods of the stores."""
    wanted = _OURS if stores else f"{_OURS},app.kubernetes.io/component!=store"
    deadline_s = time.monotonic() + patience.timeout_s
    while pods := api.list("v1", "Pod", namespace, labels=wanted):
        if time.monotonic() > deadline_s:
            raise OperatorError(f"{len(pods)} pods have not ended: {', '.join(_names(pods))}")
        time.sleep(min(_POLL_S, patience.error_s))


def _is_store(manifest: Manifest) -> bool:
    labels: dict[str, str] = manifest["metadata"].get("labels", {})
    return labels.get("app.kubernetes.io/component") == "store"


def _of(found: Manifest, kind: str) -> Manifest:
    return reference("v1", kind, found["metadata"]["name"], found["metadata"]["namespace"])


def _applied(api: Api, manifest: Manifest, report: Report) -> str:
    """Apply one manifest and return the change in a word."""
    before = api.get(manifest)
    if before is not None and manifest["kind"] == "StatefulSet":
        sizes = volumes.grown(before, manifest)
        if sizes:
            report(f"growing   {', '.join(volumes.grow(api, manifest, sizes))}")
            return "anew"
    if before is not None and manifest["kind"] == "Job" and rollouts.has_failed(before):
        api.replace(manifest)
        return "replaced"
    try:
        after = api.apply(manifest)
    except ApiRejection as rejection:
        if rejection.status != _UNPROCESSABLE or manifest["kind"] != "Job" or before is None:
            raise
        api.replace(manifest)  # a Job can't be changed
        return "replaced"
    if before is None:
        return "created"
    return "unchanged" if _without_bookkeeping(before) == _without_bookkeeping(after) else "changed"


def _without_bookkeeping(found: Manifest) -> dict[str, Any]:
    """Return an object without the fields that the cluster writes."""
    metadata = {key: value for key, value in found["metadata"].items() if key not in _BOOKKEEPING}
    return {**{key: value for key, value in found.items() if key != "status"}, "metadata": metadata}


def _require_kinds(api: Api, manifests: Sequence[Manifest]) -> None:
    """Raise OperatorError before anything is applied, unless the cluster knows every kind."""
    unknown: dict[str, None] = {}  # an ordered set
    for manifest in manifests:
        try:
            api.require(manifest)
        except UnknownKind as error:
            unknown[str(error)] = None
    if unknown:
        raise OperatorError("; ".join(unknown))


def _require_secrets(api: Api, manifests: Sequence[Manifest], namespace: str) -> None:
    """Raise OperatorError unless every key exists that a container can't start without."""
    for name, keys in sorted(overlay.secret_keys(manifests).items()):
        found = api.get(reference("v1", "Secret", name, namespace)) or {}
        missing = keys - found.get("data", {}).keys()
        if missing:
            raise OperatorError(
                f"the Secret {name} in namespace {namespace} lacks {', '.join(sorted(missing))}: "
                "run `python3 tasks.py kubernetes.secrets.load`"
            )


def _wait(api: Api, watched: Sequence[_Watched], report: Report, patience: Patience) -> None:
    deadline_s = time.monotonic() + patience.timeout_s
    while True:
        for each in watched:
            if not each.done:
                _check(api, each, report, patience)
        waiting = [each for each in watched if not each.done]
        if not waiting:
            return
        if time.monotonic() > deadline_s:
            late = ", ".join(
                f"{title(each.manifest)} ({each.trouble or each.reported or 'nothing yet'})" for each in waiting
            )
            raise OperatorError(f"not ready after {patience.timeout_s:.0f} s: {late}")
        time.sleep(min(_POLL_S, patience.error_s / 2))


def _check(api: Api, each: _Watched, report: Report, patience: Patience) -> None:
    """Report the progress of a workload when it changes. Raises OperatorError when its error does not disappear."""
    workload = api.get(each.manifest)
    if workload is None:
        raise OperatorError(f"{title(each.manifest)} was deleted during the wait")
    progress = rollouts.progress(workload)
    each.done = progress.done
    if str(progress) != each.reported:
        each.reported = str(progress)
        report(f"{'ready' if each.done else 'waiting':<9} {title(each.manifest)} {progress}")
    if each.done:
        return
    pods = _pods_of(api, workload)
    error = rollouts.error(workload, pods, _events_of(api, workload))
    now_s = time.monotonic()
    if not error:
        each.error_since_s = now_s
    trouble = error or rollouts.unscheduled(pods)
    if trouble and trouble != each.trouble:
        report(f"error     {title(each.manifest)}: {trouble}")
    each.trouble = trouble
    if error and now_s - each.error_since_s >= patience.error_s:
        raise OperatorError(f"{title(each.manifest)} does not become ready: {error}")


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
