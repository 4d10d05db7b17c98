"""Each command of deploy/kubernetes.md, unchanged and in its order, in a copy of the repository.

`minikube` is a program that only prints its arguments. kubernetes.* and kubectl use the API server of the tests.
cloud.generate and dotenv.generate write into the copy.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.api_server import ApiServer
from tests.cluster.state import Key

ROOT = Path(__file__).parents[2]


def commands() -> Iterator[str]:
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "deploy" / "kubernetes.md").read_text(), re.DOTALL):
        yield from (line.partition(" # ")[0].strip() for line in block.splitlines())


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    directory = tmp_path / "push"
    for name in ("deploy", "services", "kubernetes"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tasks.py", "pyproject.toml", ".env.template"):
        shutil.copy(ROOT / name, directory / name)
    return directory


@pytest.fixture
def environ(kubeconfig: Path, copy: Path, tmp_path: Path) -> dict[str, str]:
    """Return the environment of an operator's shell: python3 and kubectl of .venv, and a minikube."""
    own = tmp_path / "bin"
    own.mkdir()
    program(own / "python3", f'#!/bin/sh\nshift\nexec {sys.executable} -m deploy.cli "$@"\n')
    program(own / "minikube", "#!/bin/sh\necho \"export ARGUMENTS='$*'\"\n")
    path = f"{own}:{Path(sys.executable).parent}:/usr/bin:/bin"
    return {"PATH": path, "HOME": str(tmp_path), "KUBECONFIG": str(kubeconfig), "PUSH_DIRECTORY": str(copy)}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_documented_commands_work_in_order(cluster: ApiServer, environ: dict[str, str], copy: Path) -> None:
    cluster.state.version = "1.34"
    for command in commands():
        done = subprocess.run(
            ["sh", "-c", command], cwd=copy, env=environ, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    password = re.search(r"^KAFIDX_PASSWORD=(.+)$", (copy / ".env").read_text(), re.MULTILINE)
    assert password
    claim = cluster.state.objects[Key("v1", "persistentvolumeclaims", "push", "data-kafka-0")]
    assert claim["spec"]["resources"]["requests"]["storage"] == "100Gi"
    tracker = cluster.state.objects[Key("apps/v1", "statefulsets", "push", "tracker")]
    assert tracker["spec"]["template"]["spec"]["containers"][0]["image"] == "push/tracker:0.2.0"


def test_docker_env_of_minikube_is_evaluated(environ: dict[str, str], copy: Path) -> None:
    line = 'eval "$(python3 tasks.py minikube.docker-env)"'
    assert line in (ROOT / "deploy" / "kubernetes.md").read_text()
    done = subprocess.run(
        ["sh", "-c", f'{line}; echo "$ARGUMENTS"'], cwd=copy, env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "docker-env"
    assert os.environ.get("ARGUMENTS") is None
