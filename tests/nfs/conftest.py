"""A volume, an NFS server on it, and a machine with an NFS client. Needs root and Debian's packages (.ci/run)."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nfs.machine import SERVICE, Guest, Namespace, NfsServer, build

_PROGRAMS = ("ganesha.nfsd", "linux.uml", "gcc", "insmod", "nsenter", "setpriv", "ip")


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the readiness check (`ready`) and the library that the guest preloads (`xstate.so`)."""
    missing = [name for name in _PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None]
    if os.geteuid() != 0 or missing or not Path("/dev/net/tun").exists():
        pytest.skip(
            f"needs root on a Debian machine with /dev/net/tun, and the programs {', '.join(missing) or 'there'}"
        )
    place = tmp_path_factory.mktemp("programs")
    build(Path(__file__).with_name("xstate.c"), place / "xstate.so", "-shared", "-fPIC", "-ldl")
    build(SERVICE / "ready.c", place / "ready", "-lnfs")
    return place


@pytest.fixture
def namespace(tmp_path: Path, programs: Path) -> Iterator[Namespace]:
    assert programs.exists()
    (tmp_path / "volume").mkdir()
    found = Namespace(tmp_path / "volume")
    yield found
    found.close()


@pytest.fixture
def stopped_server(namespace: Namespace, tmp_path: Path) -> Iterator[NfsServer]:
    found = NfsServer(namespace, tmp_path / "server.log")
    yield found
    found.end()


@pytest.fixture
def server(stopped_server: NfsServer, programs: Path) -> NfsServer:
    stopped_server.start()
    stopped_server.wait_until_ready(programs / "ready")
    return stopped_server


@pytest.fixture
def guest(namespace: Namespace, programs: Path, tmp_path: Path) -> Guest:
    return Guest(namespace, programs / "xstate.so", tmp_path)
