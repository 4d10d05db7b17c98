"""The start of the NFS server: its requirements, and the clients that may connect."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.nfs.machine import CAPABILITIES, Guest, Namespace, NfsServer

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

MISCONFIGURED = 78


def start_error(server: NfsServer, *capabilities: str, clients: str = "10.77.0.0/24") -> str:
    """Return the message of a start that fails."""
    environ = {"PATH": os.environ["PATH"], "NFS_CLIENTS": clients}
    done = subprocess.run(
        server.command(*capabilities), env=environ, capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == MISCONFIGURED
    return done.stderr


@pytest.mark.parametrize("missing", CAPABILITIES)
def test_start_names_a_missing_capability(stopped_server: NfsServer, missing: str) -> None:
    message = start_error(stopped_server, *(name for name in CAPABILITIES if name != missing))
    assert f"missing capabilities: {missing.upper()}. " in message


@pytest.mark.parametrize("clients", ["", "*", "10.0.0.0/8; Squash = None", "a host"])
def test_start_refuses_an_invalid_list_of_clients(stopped_server: NfsServer, clients: str) -> None:
    assert f'NFS_CLIENTS: invalid value "{clients}"' in start_error(stopped_server, *CAPABILITIES, clients=clients)


def test_start_refuses_overlayfs(namespace: Namespace, stopped_server: NfsServer, tmp_path: Path) -> None:
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    layers = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    mount = namespace.command("mount", "-t", "overlay", "overlay", "-o", layers, "/var/lib/push/nfs")
    subprocess.run(mount, check=True, timeout=20)
    assert "is on overlayfs" in start_error(stopped_server, *CAPABILITIES)


def test_server_has_exactly_the_listed_capabilities(server: NfsServer) -> None:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    bits = sum(1 << bit for bit in (0, 1, 2, 3, 6, 7))
    found = {name: int(value, 16) for name, value in re.findall(r"^(Cap\w+):\s+(\w+)$", status, re.MULTILINE)}
    assert (found["CapEff"], found["CapBnd"], found["CapInh"]) == (bits, bits, 0)


def test_server_listens_at_one_port_only(namespace: Namespace, server: NfsServer) -> None:
    assert server.process.poll() is None
    done = subprocess.run(
        namespace.command("ss", "-Hlntu"), capture_output=True, text=True, check=True, timeout=20
    ).stdout  # fmt: skip
    assert {re.sub(r"\s+", " ", line).split()[4] for line in done.splitlines()} == {"*:2049"}


def test_client_that_is_not_listed_cannot_mount(stopped_server: NfsServer, programs: Path, guest: Guest) -> None:
    stopped_server.start(clients="10.78.0.0/24")
    stopped_server.wait_until_ready(programs / "ready")
    with guest.run("refused_mount"):
        assert guest.result("exit code", limit_s=60) == 32  # "mount failure" of mount(8)


def test_server_on_a_full_volume_is_ready(namespace: Namespace, stopped_server: NfsServer, programs: Path) -> None:
    place = "/var/lib/push/nfs"
    subprocess.run(namespace.command("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place), check=True, timeout=20)
    stopped_server.start()
    stopped_server.wait_until_ready(programs / "ready")
    filled = subprocess.run(
        namespace.command("dd", "if=/dev/zero", f"of={place}/files/full", "bs=4096"),
        capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    assert "No space left" in filled.stderr
    assert stopped_server.check(programs / "ready") == (0, "the volume is full\n")
    files = subprocess.run(namespace.command("ls", "-A", f"{place}/files"), capture_output=True, text=True, check=True)
    assert files.stdout == "full\n"


def test_readiness_check_prints_an_error_when_the_server_does_not_respond(server: NfsServer, programs: Path) -> None:
    server.send(signal.SIGSTOP)
    assert server.check(programs / "ready") == (1, "the server did not respond within 8 s\n")
