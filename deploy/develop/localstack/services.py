"""A service of Push as a process: started as its container would, found ready by asking it."""

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

# What a developer's shell may hold must not reach a service: it sees these and what the stack gives it.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")


class ServiceProcess:
    """`python -m services.<name> <arguments>` with what its lock names, variables of its own and a free internal port.

    It keeps these over restarts. `label` is its name in messages and the name of its log file; `within` are the words
    of a command that becomes another, such as `nsenter`.
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
        """The process id of the present (or last) run."""
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self.process.is_alive

    @property
    def log(self) -> Path:
        """The file with what it wrote, over all its runs."""
        return self.process.log

    def start(self) -> None:
        """Start it and return at once."""
        self.process.start()

    def wait_until_ready(self, *, timeout_s: float = _READY_TIMEOUT_S) -> None:
        """Return when /readyz answers 200; raise ProcessFailed with the log's tail otherwise."""
        self.process.wait_until(self.is_ready, timeout_s=timeout_s)

    def is_ready(self) -> bool:
        """Whether /readyz on the internal port answers 200 now."""
        try:
            status, _ = self._get("/readyz")
        except (OSError, HTTPException):
            return False
        return status == HTTPStatus.OK

    def metrics(self) -> str:
        """Return what /metrics answers, in Prometheus' text format."""
        return self._get("/metrics")[1]

    def _get(self, path: str) -> tuple[int, str]:
        connection = HTTPConnection(LOOPBACK, int(self.env["INTERNAL_PORT"]), timeout=_REQUEST_TIMEOUT_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def stop(self) -> None:
        """Stop it as a container would be stopped: SIGTERM, and SIGKILL after a while."""
        self.process.stop(grace_s=20)

    def kill(self) -> None:
        """SIGKILL it; returns when it is gone."""
        self.process.kill()

    def restart(self) -> None:
        """Start it again, stopped or killed or running, and return when it is ready."""
        self.stop()
        self.start()
        self.wait_until_ready()
