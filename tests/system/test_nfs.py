"""The container of the NFS server: built, healthy, confined, and created anew on its volume."""

import json
import re
import subprocess

import pytest

from tests.system.platform import Platform

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]

NAME = "imageserver-nfs"


@pytest.fixture
def engine(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """Return the platform with the image of the server, and without the system call filter of an old engine.

    Docker before July 2023 forbids name_to_handle_at(2) by default (moby/moby#45766), which a file server needs.
    """
    platform.task("docker.images.build", "--service", "imageserver.nfs", timeout_s=390)
    major = int(platform.docker("version", "--format", "{{.Server.Version}}").split(".")[0])
    if major < 24:
        unfiltered = platform.tree / "docker-compose" / "unfiltered.yml"
        unfiltered.write_text(json.dumps({"services": {NAME: {"security_opt": ["seccomp=unconfined"]}}}))
        monkeypatch.setitem(platform.environ, "COMPOSE_FILE", f"{platform.environ['COMPOSE_FILE']}:{unfiltered}")
    return platform


# On a new machine it waits some minutes until the engine and the stand-ins are built.
@pytest.mark.timeout(1500)
def test_container_is_healthy_and_keeps_its_files_when_it_is_created_anew(engine: Platform) -> None:
    up = ("--profile", "nfs", "up", "--detach", "--no-build", "--wait")
    try:
        engine.compose(*up, NAME)
        first = engine.containers()[NAME]["Id"]
        engine.docker("exec", first, "sh", "-c", "echo kept >/var/lib/push/nfs/files/kept")
        status = engine.docker("exec", first, "cat", "/proc/1/status")
        engine.compose(*up, "--force-recreate", NAME)
        second = engine.containers()[NAME]["Id"]
        assert second != first
        assert engine.docker("exec", second, "cat", "/var/lib/push/nfs/files/kept") == "kept\n"
        # A second client beside that of Linux: libnfs 5. It compares what it reads with what it has written.
        for size in (10, 20_000, 200_000, 20_000_000):
            engine.docker("exec", second, "/opt/push/ready", str(size))
        with pytest.raises(AssertionError, match="the size must be 1 to"):
            engine.docker("exec", second, "/opt/push/ready", "0")
    finally:
        engine.compose("--profile", "nfs", "rm", "--stop", "--force", NAME)
    bits = sum(1 << bit for bit in (0, 1, 2, 3, 6, 7))
    found = dict(re.findall(r"^(Cap(?:Eff|Bnd)):\s+(\w+)$", status, re.MULTILINE))
    assert len(found) == 2
    assert {int(value, 16) for value in found.values()} == {bits}


def test_container_names_a_missing_capability(engine: Platform) -> None:
    given = [f"--cap-add={name}" for name in ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")]
    command = ["docker", "run", "--rm", "--cap-drop=ALL", *given, "push/imageserver.nfs:system"]
    done = subprocess.run(command, env=engine.environ, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 78
    assert "missing capabilities: DAC_READ_SEARCH" in done.stderr
