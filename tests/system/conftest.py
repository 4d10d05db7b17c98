"""A real Docker engine with stand-in base images, and the platform on it; at the end nothing is left but its caches."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator

import pytest

from tests.system.platform import ROOT, STANDINS, Platform, copy_of_the_tree


def _answers(docker_host: str) -> bool:
    return subprocess.run(["docker", "-H", docker_host, "info"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="session")
def docker_host() -> Iterator[str]:
    """The engine of the stand-ins, started if it does not run, and then stopped at the end."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("needs root on a Debian machine, for a Docker engine of its own")
    tool = [str(STANDINS / "containers")]
    state = os.environ.get("CONTAINERS_STATE", "/var/tmp/containers-here")  # noqa: S108 - the tool's own default
    ran_before = shutil.which("docker") is not None and _answers(f"unix://{state}/docker.sock")
    said = subprocess.run([*tool, "up"], capture_output=True, text=True, check=False)
    if said.returncode != 0:
        pytest.skip(f"no Docker engine can be started here: {said.stderr.strip().splitlines()[-1:]}")
    images = tomllib.loads((ROOT / "deploy" / "catalog.toml").read_text())["images"]
    # No stand-in for grafana: nothing in Debian is one. It is the one container that is not started here.
    wanted = [images[name] for name in ("python", "valkey", "kafka", "prometheus")]
    subprocess.run([*tool, "images", *wanted], env={**os.environ, "PYTHON": sys.executable}, check=True)
    yield f"unix://{state}/docker.sock"
    if not ran_before:
        subprocess.run([*tool, "down"], check=True)


@pytest.fixture(scope="session")
def platform(docker_host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A copy of the tree with its settings and no image of this version, and no container before or after."""
    found = Platform(copy_of_the_tree(tmp_path_factory.mktemp("system") / "push"), docker_host)
    found.task("dotenv.generate", "--yes")
    found.task("docker.compose.spin-down", "--yes")
    yield found
    found.task("docker.compose.spin-down", "--yes")
