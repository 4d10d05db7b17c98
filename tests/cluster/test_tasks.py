"""The tasks on an operator's command line, and plain kubectl, against the same API server."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from deploy.cluster import overlay
from tests.cluster.api_server import ApiServer

ROOT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environ(kubeconfig: Path, tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(tmp_path), "PUSH_DIRECTORY": str(tmp_path)}


@pytest.fixture
def inv(environ: dict[str, str]) -> Run:
    def run(*words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "deploy.cli", *words]
        return subprocess.run(
            command, cwd=ROOT, env=environ | changes, capture_output=True, text=True, check=False, timeout=60
        )

    return run


@pytest.fixture
def kubectl(environ: dict[str, str]) -> Run:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [overlay.kubectl(), *words], env=environ, capture_output=True, text=True, check=False, timeout=60
        )

    return run


@pytest.mark.slow
def test_system_is_started_and_removed_on_an_empty_cluster(inv: Run, cluster: ApiServer, dotenv: Path) -> None:
    for words in (
        "kubernetes.namespace.create",
        f"kubernetes.secrets.load --dotenv {dotenv}",
        "kubernetes.secrets.show",
        "kubernetes.spin.up",
        "kubernetes.ps",
        "kubernetes.logs --container kafkastore --tail 1",
        "kubernetes.resources",
        "kubernetes.spin.down --volumes",
        "kubernetes.secrets.delete",
        "kubernetes.namespace.delete --yes",
    ):
        done = inv(*words.split())
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        assert "not-to-be-seen" not in done.stdout + done.stderr
    assert cluster.state.objects == {}


def test_generated_overlay_is_started_by_its_path(inv: Run, cluster: ApiServer, dotenv: Path, tmp_path: Path) -> None:
    generated = inv(
        *("cloud.generate", "--cluster", "berlin", "--domain", "push.example.com", "--gateway-class", "nginx"),
        *("--output", "berlin"),
    )
    assert generated.returncode == 0, generated.stderr
    before = {path.name: path.read_bytes() for path in (tmp_path / "berlin").iterdir()}
    again = inv(
        *("stackpoint.generate.yaml", "--cluster", "berlin", "--domain", "push.example.com"),
        *("--gateway-class", "nginx", "--output", "berlin"),
    )
    assert again.returncode == 0, again.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "berlin").iterdir()} == before
    for words in ("namespace.create", f"secrets.load --dotenv {dotenv}", "spin.up"):
        done = inv(*f"kubernetes.{words} --overlay berlin".split())
        assert done.returncode == 0, done.stderr
    assert {"gateways", "httproutes", "scaledobjects"} <= {key.plural for key in cluster.state.objects}


def test_error_is_one_sentence_and_an_exit_code(inv: Run, tmp_path: Path) -> None:
    for words, reported, changes in (
        ("kubernetes.spin.up --overlay nowhere", "Use a path or one of cloud, local", {}),
        ("kubernetes.ps", "no kubeconfig at", {"KUBECONFIG": str(tmp_path / "none")}),
        ("cloud.generate --domain b.example", "--cluster is missing: a name of a-z, 0-9 and -, like berlin", {}),
        ("cloud.generate --cluster a --domain b", '--domain: invalid value "b". Use a domain', {}),
        ("minikube.start", "minikube is not installed", {"PATH": "/nowhere"}),
    ):
        done = inv(*words.split(), **changes)
        assert done.returncode == 1
        assert reported in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert "Traceback" not in done.stderr


def test_minikube_task_returns_the_exit_code_of_minikube(inv: Run, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "minikube"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "minikube $*"\nexit 7\n')
    program.chmod(0o755)
    for task, arguments in (
        ("start", "start --cpus=4"),
        ("stop", "stop"),
        ("dashboard", "dashboard"),
        ("docker-env", "docker-env"),
    ):
        done = inv(f"minikube.{task}", PATH=f"{program.parent}:/usr/bin:/bin")
        assert done.returncode == 7
        assert f"minikube {arguments}" in done.stdout


def test_generated_overlay_is_applied_by_one_kubectl_command(
    inv: Run, kubectl: Run, cluster: ApiServer, dotenv: Path, tmp_path: Path
) -> None:
    place = str(tmp_path / "berlin")
    inv(
        *("cloud.generate", "--cluster", "berlin", "--domain", "push.example.com", "--gateway-class", "nginx"),
        *("--output", place),
    )
    inv("kubernetes.namespace.create", "--overlay", place)
    inv("kubernetes.secrets.load", "--overlay", place, "--dotenv", str(dotenv))
    applied = kubectl("apply", "--server-side", "-k", place)
    assert applied.returncode == 0, applied.stderr
    assert "statefulset.apps/tracker serverside-applied" in applied.stdout
    versions = {key: found["metadata"]["resourceVersion"] for key, found in cluster.state.objects.items()}
    assert kubectl("apply", "--server-side", "-k", place).returncode == 0
    changed = {
        key for key, found in cluster.state.objects.items() if versions.get(key) != found["metadata"]["resourceVersion"]
    }
    assert {key.plural for key in changed} <= {"pods", "statefulsets", "deployments", "jobs"}, "only their status"
    assert kubectl("delete", "--ignore-not-found", "--wait=false", "-k", place).returncode == 0
    assert {key.plural for key in cluster.state.objects} <= {"pods", "namespaces", "persistentvolumeclaims"}


def test_kubectl_waits_for_a_rollout(kubectl: Run, cluster: ApiServer, tmp_path: Path) -> None:
    labels = {"app": "a"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}}
    workload = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": pod},
    }
    manifest = tmp_path / "manifests.yaml"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
    manifest.write_text(yaml.safe_dump_all([namespace, workload]))
    cluster.state.ready_after_s = 1.0
    assert kubectl("apply", "--server-side", "-f", str(manifest)).returncode == 0
    done = kubectl("rollout", "status", "deployment/a", "--timeout=20s")
    assert done.returncode == 0, done.stderr
    assert "0 of 2 updated replicas are available" in done.stdout
    assert 'deployment "a" successfully rolled out' in done.stdout


def test_kubectl_reports_an_unknown_field(kubectl: Run, tmp_path: Path, cluster: ApiServer) -> None:
    manifest = tmp_path / "namespace.yaml"
    manifest.write_text("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\nspek: {}\n")
    refused = kubectl("apply", "--server-side", "-f", str(manifest))
    assert refused.returncode == 1
    assert 'unknown field "spek"' in refused.stderr
    assert cluster.state.objects == {}
