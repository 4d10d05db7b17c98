"""Overlays: the output of kustomize for `kubernetes/overlays/<name>`, in the order of application."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from deploy.cluster.api import Manifest, namespace_of
from deploy.errors import OperatorError
from deploy.paths import ROOT

OVERLAYS = ROOT / "kubernetes" / "overlays"

# Each kind comes before those that depend on it. Kinds that are not listed come last.
_ORDER = (
    "Namespace",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "Secret",
    "ConfigMap",
    "PersistentVolume",
    "Service",
    "NetworkPolicy",
    "StatefulSet",
    "Deployment",
    "Job",
)


def kubectl() -> str:
    """Return the kubectl of the virtual environment, else of the machine."""
    own = Path(sys.executable).with_name("kubectl")
    found = str(own) if own.exists() else shutil.which("kubectl")
    if found is None:
        raise OperatorError("kubectl is not installed: `python3 tasks.py` installs it into .venv")
    return found


def find(name: str, at: Path | None = None) -> Path:
    """Return the directory of an overlay, given its name under kubernetes/overlays or its path."""
    for place in (OVERLAYS / name, at or Path(name)):
        if name and (place / "kustomization.yaml").exists():
            return place
    known = ", ".join(sorted(path.name for path in OVERLAYS.iterdir()))
    raise OperatorError(f"--overlay {name or '(empty)'}: no kustomization.yaml there. Use a path or one of {known}.")


def build(directory: Path) -> list[Manifest]:
    """Build an overlay and return its manifests in the order of application. Raises OperatorError."""
    done = subprocess.run([kubectl(), "kustomize", str(directory)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OperatorError(f"kustomize can't build {directory.name}: {' '.join(done.stderr.split())}")
    return ordered(yaml.safe_load_all(done.stdout))


def ordered(manifests: Iterator[Manifest] | Sequence[Manifest]) -> list[Manifest]:
    """Sort manifests so that each comes after the manifests that it depends on. Equal kinds keep their order."""
    places = {kind: place for place, kind in enumerate(_ORDER)}
    return sorted((found for found in manifests if found), key=lambda found: places.get(found["kind"], len(places)))


def namespace(manifests: Sequence[Manifest]) -> str:
    """Return the namespace of an overlay. Raises OperatorError when it has several or none."""
    names = {namespace_of(found) for found in manifests} - {""}
    if len(names) != 1:
        raise OperatorError(f"an overlay must have one namespace, not {', '.join(sorted(names)) or 'none'}")
    return names.pop()


def pod_template(manifest: Manifest) -> dict[str, Any] | None:
    """Return the pod template of a workload, or None for another kind."""
    template: dict[str, Any] | None = (
        manifest.get("spec", {}).get("template") if manifest["kind"] in WORKLOADS else None
    )
    return template


WORKLOADS = ("StatefulSet", "Deployment", "Job")


def containers(template: Manifest) -> list[dict[str, Any]]:
    """Return all containers of a pod template, sidecars first."""
    spec = template["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]


def secret_keys(manifests: Sequence[Manifest], *, optional: bool = False) -> dict[str, set[str]]:
    """Return the keys of each Secret that containers can't start without. With `optional`, also the others."""
    wanted: dict[str, set[str]] = {}
    for manifest in manifests:
        for container in containers(pod_template(manifest) or {"spec": {"containers": []}}):
            for variable in container.get("env", ()):
                source = variable.get("valueFrom", {}).get("secretKeyRef")
                if source and (optional or not source.get("optional")):
                    wanted.setdefault(source["name"], set()).add(source["key"])
    return wanted
