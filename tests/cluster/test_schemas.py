"""Each manifest is valid for the oldest and newest supported Kubernetes, and for the types of the operators."""

import json
import shutil
import subprocess
import warnings
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest

from deploy.cluster.api import Manifest, title
from deploy.paths import ROOT
from tests.cluster.conftest import BUILDS
from tests.cluster.state import OPERATORS

OLDEST, NEWEST = "1.34", "1.37"

# npm packages with the types of kinds that operators define.
TYPES = {
    "gateway.networking.k8s.io/v1": "gateway-api",
    "cert-manager.io/v1": "cert-manager",
    "keda.sh/v1alpha1": "keda",
}
PACKAGES = (
    "@kubernetes-models/gateway-api@2.0.0",
    "@kubernetes-models/cert-manager@6.0.0",
    "@kubernetes-models/keda@2.0.0",
    "typescript@5",
)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("build", BUILDS)
def test_manifests_are_valid(builds: dict[str, list[Manifest]], build: str, version: str) -> None:
    errors = []
    with warnings.catch_warnings():
        # A deprecated API version is a warning there.
        warnings.simplefilter("error")
        for manifest in builds[build]:
            if manifest["apiVersion"] in OPERATORS:
                continue
            if error := fault_of(json.dumps(manifest), version):
                errors.append(f"{title(manifest)}: {error}")
    assert errors == []


@cache
def fault_of(manifest: str, version: str) -> str:
    try:
        kubernetes_validate.validate(json.loads(manifest), version, strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError, Warning) as error:
        return str(error)
    return ""


def test_invalid_manifest_is_detected(local: list[Manifest]) -> None:
    kafidx = next(found for found in local if title(found) == "Deployment kafidx")
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate({**kafidx, "spec": {**kafidx["spec"], "replica": 1}}, NEWEST, strict=True)


@pytest.fixture(scope="session")
def types(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the types of the operators and a TypeScript compiler, from npm. They are kept between runs."""
    npm = shutil.which("npm")
    assert npm is not None, "npm fetches the operators' types: install it"
    folder = ROOT / ".cache" / "operator-types"
    wanted = json.dumps({"private": True, "type": "module", "dependencies": list(PACKAGES)})
    done = folder / "packages.json"
    if not done.exists() or done.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "package.json").write_text('{"private": true, "type": "module"}')
        command = [npm, "install", "--silent", "--no-audit", "--no-fund", *PACKAGES]
        subprocess.run(command, cwd=folder, check=True, timeout=110)
        done.write_text(wanted)
    place = tmp_path_factory.mktemp("types")
    (place / "node_modules").symlink_to(folder / "node_modules")
    return place


def typed(manifests: list[Manifest], place: Path) -> str:
    """Check manifests against their types with the compiler; return its output."""
    lines = []
    for number, manifest in enumerate(manifests):
        version, kind = manifest["apiVersion"], manifest["kind"]
        path = f"@kubernetes-models/{TYPES[version]}/{version}/{kind}"
        lines.append(f'import type {{ I{kind} as T{number} }} from "{path}";')
        lines.append(f"export const m{number}: T{number} = {json.dumps(manifest)};")
    (place / "manifests.ts").write_text("\n".join(lines))
    compiler = ["node_modules/.bin/tsc", "--noEmit", "--strict", "--skipLibCheck", "--target", "es2022"]
    options = ["--module", "esnext", "--moduleResolution", "bundler", "--preserveSymlinks", "manifests.ts"]
    return subprocess.run([*compiler, *options], cwd=place, capture_output=True, text=True, check=False).stdout


@pytest.mark.slow
@pytest.mark.parametrize("build", ["cloud", "ingress", "generated-gateway", "generated-ingress"])
def test_objects_of_operators_are_valid(builds: dict[str, list[Manifest]], build: str, types: Path) -> None:
    found = [manifest for manifest in builds[build] if manifest["apiVersion"] in TYPES]
    assert found
    assert typed(found, types) == ""


@pytest.mark.slow
def test_unknown_field_of_an_operator_is_detected(builds: dict[str, list[Manifest]], types: Path) -> None:
    scaled = next(found for found in builds["cloud"] if found["kind"] == "ScaledObject")
    reported = typed([{**scaled, "spec": {**scaled["spec"], "maxReplicas": 3}}], types)
    assert "'\"maxReplicas\"' does not exist" in reported
