"""A real Docker engine with stand-in base images, and the platform on it. At the end only its caches remain."""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.platform import ROOT, STANDINS, Platform, copy_of_the_tree, free_port

_TOOL = [str(STANDINS / "containers")]


def _responds(docker_host: str) -> bool:
    return subprocess.run(["docker", "-H", docker_host, "info"], capture_output=True, check=False).returncode == 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests of the alerts last, after those that build and start the images."""
    items.sort(key=lambda item: item.path == Path(__file__).with_name("test_alerts.py"))


@pytest.fixture(scope="session")
def docker_host() -> Iterator[str]:
    """Yield the engine of the stand-ins. If it does not run, start it, and stop it at the end."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("needs root on a Debian machine, for a Docker engine of its own")
    state = os.environ.get("CONTAINERS_STATE", "/var/tmp/containers-here")  # noqa: S108 - the tool's own default
    ran_before = shutil.which("docker") is not None and _responds(f"unix://{state}/docker.sock")
    done = subprocess.run([*_TOOL, "up"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no Docker engine can be started here: {done.stderr.strip().splitlines()[-1:]}")
    try:
        images = tomllib.loads((ROOT / "deploy" / "catalog.toml").read_text())["images"]
        # Debian has no Grafana, so it is the only container that does not start here.
        wanted = [images[name] for name in ("python", "debian", "valkey", "kafka", "mongo", "prometheus")]
        subprocess.run([*_TOOL, "images", *wanted], env={**os.environ, "PYTHON": sys.executable}, check=True)
        yield f"unix://{state}/docker.sock"
    finally:
        if not ran_before:
            subprocess.run([*_TOOL, "down"], check=True)


@pytest.fixture(scope="session")
def platform(docker_host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Yield a copy of the tree with its settings, without images of this version. No container runs before or after."""

    def restart_engine() -> None:
        subprocess.run([*_TOOL, "down"], check=True)
        subprocess.run([*_TOOL, "up"], check=True, stdout=subprocess.DEVNULL)

    found = Platform(copy_of_the_tree(tmp_path_factory.mktemp("system") / "push"), docker_host, restart_engine)
    found.task("dotenv.generate", "--yes")
    found.spin_down("--yes")
    yield found
    found.spin_down("--yes")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """Yield a real image registry on loopback: that of Debian, unpacked and not installed."""
    (tmp_path / "deb").mkdir()
    download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", "docker-registry"]
    if subprocess.run(download, cwd=tmp_path / "deb", check=False).returncode != 0:
        pytest.skip("Debian's docker-registry is not available")
    [package] = (tmp_path / "deb").iterdir()
    subprocess.run(["dpkg", "-x", package, tmp_path], check=True)
    address = f"127.0.0.1:{free_port()}"
    (tmp_path / "config.yml").write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/images}}}}\nhttp: {{addr: '{address}'}}\n"
    )
    command: list[str | Path] = [tmp_path / "usr/bin/docker-registry", "serve", tmp_path / "config.yml"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as serving:
        try:
            yield address
        finally:
            serving.terminate()
