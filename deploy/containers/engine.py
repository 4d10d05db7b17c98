"""The Docker engine and Compose: run their commands, and report a missing one in a sentence."""

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.errors import OperatorError
from deploy.operate import endpoints
from deploy.paths import ROOT

FILES = ROOT / "docker-compose"
DOTENV = ROOT / ".env"
TEMPLATE = ROOT / ".env.template"

_OLDEST_COMPOSE = (2, 20)  # the first version with `include`
_CRASH_LOOP = 3
"""Number of restarts after which a container that is not healthy counts as failed."""


@dataclass(frozen=True, kw_only=True)
class State:
    """The state of one container."""

    id: str
    status: str
    """created, running, restarting, exited ..."""
    health: str
    """starting, healthy or unhealthy. Empty without a health check."""
    exit_code: int
    restarts: int

    @property
    def is_up(self) -> bool:
        """Whether the container is healthy, or for a job has succeeded."""
        if self.health:
            return self.status == "running" and self.health == "healthy"
        return self.status == "exited" and self.exit_code == 0

    @property
    def error(self) -> str:
        """The reason why the container failed. Empty while it can still become healthy."""
        # The engine also calls a container unhealthy that has just ended and will be restarted.
        if self.health == "unhealthy" and self.status == "running":
            return "is unhealthy"
        if not self.health and self.status == "exited" and self.exit_code:
            return f"ended with exit code {self.exit_code}"
        if self.restarts >= _CRASH_LOOP and not self.is_up:
            return f"ends repeatedly (exit code {self.exit_code}, {self.restarts} restarts)"
        return ""

    def __str__(self) -> str:
        if not self.health and self.status == "exited":
            return f"exited ({self.exit_code})"
        return f"{self.status}, {self.health}" if self.health and self.status == "running" else self.status


def require_engine() -> None:
    """Return when the engine and Compose respond. Raises OperatorError, which names the missing package."""
    try:
        engine = _asked("docker", "version", "--format", "{{.Server.Version}}")
    except FileNotFoundError:
        raise OperatorError(
            "Docker is not installed: https://docs.docker.com/engine/install, or Debian's docker.io"
        ) from None
    if engine.returncode != 0:
        where = os.environ.get("DOCKER_HOST", "the default socket")
        reply = (engine.stderr.strip().splitlines() or ["no error message"])[-1]
        raise OperatorError(
            f"The Docker engine at {where} does not respond: {reply}\n"
            "Start it (systemctl start docker), or join the group docker."
        )
    compose = _asked("docker", "compose", "version", "--short")
    found = re.match(r"v?(\d+)\.(\d+)", compose.stdout.strip())
    if compose.returncode != 0 or found is None:
        raise OperatorError(
            "Docker's Compose plugin is missing: install docker-compose-plugin, or Debian's docker-compose"
        )
    if (int(found[1]), int(found[2])) < _OLDEST_COMPOSE:
        wanted = ".".join(map(str, _OLDEST_COMPOSE))
        raise OperatorError(f"Docker Compose {compose.stdout.strip()} is too old: install {wanted} or newer")


def require_dotenv() -> None:
    """Raise OperatorError unless `.env` exists."""
    if not DOTENV.exists():
        raise OperatorError("there is no .env with the settings of the containers: dotenv.generate writes it")


def environment() -> dict[str, str]:
    """Return the variables of `.env` overridden by those of the shell, as Compose reads them."""
    return endpoints.environment(os.environ, dotenv=DOTENV)


def project() -> str:
    """Return the prefix of the names of all containers, networks and volumes."""
    return os.environ.get("COMPOSE_PROJECT_NAME") or "push"


def compose(*words: str, dotenv: Path = DOTENV) -> list[str]:
    """Return the command line of Compose. Run it in FILES, so that a compose.override.yml there is read too."""
    return ["docker", "compose", "--env-file", str(dotenv), *words]


def run(command: Sequence[str], *, failed: str, extra: Mapping[str, str] | None = None) -> None:
    """Run a Docker command on this terminal. Raises OperatorError with `failed` when it fails."""
    done = subprocess.run(command, cwd=FILES, env={**os.environ, **(extra or {})}, check=False)
    if done.returncode != 0:
        raise OperatorError(f"{failed} (exit code {done.returncode}), see the output above")


def ask(*command: str) -> str:
    """Return the output of a Docker command. Raises OperatorError with its error message."""
    done = _asked(*command)
    if done.returncode != 0:
        raise OperatorError(f"{' '.join(command[:3])} ... failed: {done.stderr.strip()}")
    return done.stdout


def has_image(reference: str) -> bool:
    """Return whether the engine has this image."""
    return _asked("docker", "image", "inspect", "--format", "{{.Id}}", reference).returncode == 0


def states() -> dict[str, State]:
    """Return the state of each container of the project, by its service name in the compose files."""
    ids = ask("docker", "ps", "--all", "--quiet", *_of_project("oneoff=False")).split()
    if not ids:
        return {}
    # A container can be removed between the two commands. The others are still reported.
    listed = _asked("docker", "inspect", *ids).stdout
    return {row["Config"]["Labels"]["com.docker.compose.service"]: _state(row) for row in json.loads(listed or "[]")}


def left_over(*, volumes: bool) -> list[str]:
    """Return the names of the project's containers, networks and, with `volumes`, volumes."""
    found = ask("docker", "ps", "--all", "--format", "container {{.Names}}", *_of_project())
    found += ask("docker", "network", "ls", "--format", "network {{.Name}}", *_of_project())
    if volumes:
        found += ask("docker", "volume", "ls", "--format", "volume {{.Name}}", *_of_project())
    return found.splitlines()


def held_by_nobody(network: str) -> bool:
    """Return whether no container uses this network."""
    done = _asked("docker", "network", "inspect", "--format", "{{len .Containers}}", network)
    return done.returncode == 0 and done.stdout.strip() == "0"


def _of_project(*labels: str) -> list[str]:
    wanted = (f"project={project()}", *labels)
    return [word for label in wanted for word in ("--filter", f"label=com.docker.compose.{label}")]


def _state(row: Mapping[str, Any]) -> State:
    state = row["State"]
    return State(
        id=row["Id"],
        status=state["Status"],
        health=state.get("Health", {}).get("Status", ""),
        exit_code=state["ExitCode"],
        restarts=row["RestartCount"],
    )


def _asked(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=FILES, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
