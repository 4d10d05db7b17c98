"""A service of Push as a process, started like its container, with its readiness endpoint."""

import os
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from deploy.develop.localstack.environments import python_of
from deploy.develop.localstack.ports import LOOPBACK, free_port
from deploy.develop.localstack.processes import LocalProcess
from deploy.paths import ROOT

_READY_TIMEOUT_S = 60
_REQUEST_TIMEOUT_S = 2

# The variables that a service inherits from the shell of the developer. The stack sets all others.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")


class ServiceProcess:
    """`python -m services.<name> <arguments>` with the packages of its lock, its own variables and a free port.

    A restart keeps packages, variables and port. `label` is its name in messages and in the name of its log file.
    `within` is the prefix of its command, such as `nsenter`.
    """

    def __init__(
        self,
        name: str,
        *arguments: str,
        label: str,
        logs: Path,
        env: Mapping[str, str],
        within: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.label = label
        inherited = {key: value for key, value in os.environ.items() if key in _INHERITED}
        own = {"INTERNAL_PORT": str(free_port()), "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
        self.env = inherited | own | dict(env)
        self.internal_url = f"http://{LOOPBACK}:{self.env['INTERNAL_PORT']}"
        command = [*within, python_of(name), "-m", f"services.{name}", *arguments]
        self.process = LocalProcess(label, command, log=logs / f"{label}.log", env=self.env, cwd=ROOT)

    @property
    def pid(self) -> int:
        """The process id of the current or last run."""
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process.is_alive

    @property
    def log(self) -> Path:
        """The log file of all its runs."""
        return self.process.log

    def start(self) -> None:
        """Start the service and return at once."""
        self.process.start()

    def wait_until_ready(self, *, timeout_s: float = _READY_TIMEOUT_S) -> None:
        """Return when /readyz responds with 200. Raises ProcessFailed with the tail of the log."""
        self.process.wait_until(self.is_ready, timeout_s=timeout_s)

    def is_ready(self) -> bool:
        """Return whether /readyz on the internal port responds with 200."""
        try:
            status, _ = self._get("/readyz")
        except (OSError, HTTPException):
            return False
        return status == HTTPStatus.OK

    def metrics(self) -> str:
        """Return the response of /metrics, in Prometheus' text format."""
        return self._get("/metrics")[1]

    def _get(self, path: str) -> tuple[int, str]:
        connection = HTTPConnection(LOOPBACK, int(self.env["INTERNAL_PORT"]), timeout=_REQUEST_TIMEOUT_S)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        finally:
            connection.close()

    def stop(self) -> None:
        """Stop the service like its container: SIGTERM, and SIGKILL after 20 s."""
        self.process.stop(grace_s=20)

    def kill(self) -> None:
        """Kill the service. Returns when it is gone."""
        self.process.kill()

    def restart(self) -> None:
        """Restart the service, whether it runs or not. Returns when it is ready."""
        self.stop()
        self.start()
        self.wait_until_ready()
