"""Overlays: what kustomize makes of `kubernetes/overlays/<name>`, in the order in which it is applied."""

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

# Each kind before those that need it to be there; what is not named comes last.
_ORDER = (
    "Namespace",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "Secret",
    "ConfigMap",
    "Service",
    "NetworkPolicy",
    "StatefulSet",
    "Deployment",
    "Job",
)


def kubectl() -> str:
    """Return the kubectl of the virtual environment, or else of the machine."""
    own = Path(sys.executable).with_name("kubectl")
    found = str(own) if own.exists() else shutil.which("kubectl")
    if found is None:
        raise OperatorError("there is no kubectl: `python3 tasks.py` installs it into .venv, or install your system's")
    return found


def find(name: str, at: Path | None = None) -> Path:
    """Find an overlay by its name under kubernetes/overlays, or by the path of its directory."""
    for place in (OVERLAYS / name, at or Path(name)):
        if name and (place / "kustomization.yaml").exists():
            return place
    known = ", ".join(sorted(path.name for path in OVERLAYS.iterdir()))
    raise OperatorError(f"--overlay {name or '(empty)'}: no kustomization.yaml there; there are {known}")


def build(directory: Path) -> list[Manifest]:
    """Build an overlay; its manifests in the order in which they are to be applied. Raises OperatorError."""
    done = subprocess.run([kubectl(), "kustomize", str(directory)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OperatorError(f"{directory.name} does not build: {' '.join(done.stderr.split())}")
    return ordered(yaml.safe_load_all(done.stdout))


def ordered(manifests: Iterator[Manifest] | Sequence[Manifest]) -> list[Manifest]:
    """Put what others need before them, and keep the order of each kind."""
    places = {kind: place for place, kind in enumerate(_ORDER)}
    return sorted((found for found in manifests if found), key=lambda found: places.get(found["kind"], len(places)))


def namespace(manifests: Sequence[Manifest]) -> str:
    """Return the one namespace that an overlay is about. Raises OperatorError when it is about several, or none."""
    names = {namespace_of(found) for found in manifests} - {""}
    if len(names) != 1:
        raise OperatorError(f"an overlay has one namespace; this one has {', '.join(sorted(names)) or 'none'}")
    return names.pop()


def pod_template(manifest: Manifest) -> dict[str, Any] | None:
    """Return the pod template of a workload; None for everything else."""
    template: dict[str, Any] | None = (
        manifest.get("spec", {}).get("template") if manifest["kind"] in WORKLOADS else None
    )
    return template


WORKLOADS = ("StatefulSet", "Deployment", "Job")


def containers(template: Manifest) -> list[dict[str, Any]]:
    """List all containers of a pod template, sidecars first."""
    spec = template["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]


def secret_keys(manifests: Sequence[Manifest]) -> dict[str, set[str]]:
    """Return the keys that containers take from each Secret and can't start without."""
    wanted: dict[str, set[str]] = {}
    for manifest in manifests:
        for container in containers(pod_template(manifest) or {"spec": {"containers": []}}):
            for variable in container.get("env", ()):
                source = variable.get("valueFrom", {}).get("secretKeyRef")
                if source and not source.get("optional"):
                    wanted.setdefault(source["name"], set()).add(source["key"])
    return wanted
