"""The Docker engine and its Compose: asked for what they know, and told plainly when they are not there."""

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

_OLDEST_COMPOSE = (2, 20)  # the first that knows `include`
_CRASH_LOOP = 3
"""Restarts after which a container that has not become healthy is taken for broken."""


@dataclass(frozen=True, kw_only=True)
class State:
    """What the engine says of one container now."""

    id: str
    status: str
    """created, running, restarting, exited ..."""
    health: str
    """starting, healthy or unhealthy; empty for one without a health check."""
    exit_code: int
    restarts: int

    @property
    def is_up(self) -> bool:
        """Whether it does its work, or has done it: a job's health is its exit code."""
        if self.health:
            return self.status == "running" and self.health == "healthy"
        return self.status == "exited" and self.exit_code == 0

    @property
    def fault(self) -> str:
        """Why it will not come up by itself; empty while it still may."""
        # The engine calls unhealthy what has just ended, too, and starts it again.
        if self.health == "unhealthy" and self.status == "running":
            return "is unhealthy"
        if not self.health and self.status == "exited" and self.exit_code:
            return f"ended with exit code {self.exit_code}"
        if self.restarts >= _CRASH_LOOP and not self.is_up:
            return f"ends again and again (exit code {self.exit_code}, {self.restarts} restarts)"
        return ""

    def __str__(self) -> str:
        if not self.health and self.status == "exited":
            return f"exited ({self.exit_code})"
        return f"{self.status}, {self.health}" if self.health and self.status == "running" else self.status


def require_engine() -> None:
    """Return when engine and Compose answer. Raises OperatorError that names what is missing and how to get it."""
    try:
        engine = _asked("docker", "version", "--format", "{{.Server.Version}}")
    except FileNotFoundError:
        raise OperatorError(
            "Docker is not installed: https://docs.docker.com/engine/install, or Debian's docker.io"
        ) from None
    if engine.returncode != 0:
        where = os.environ.get("DOCKER_HOST", "the default socket")
        said = (engine.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise OperatorError(
            f"The Docker engine does not answer at {where}: {said}\n"
            "Start it (systemctl start docker), or join its group."
        )
    compose = _asked("docker", "compose", "version", "--short")
    found = re.match(r"v?(\d+)\.(\d+)", compose.stdout.strip())
    if compose.returncode != 0 or found is None:
        raise OperatorError(
            "Docker's Compose plugin is missing: install docker-compose-plugin, or Debian's docker-compose"
        )
    if (int(found[1]), int(found[2])) < _OLDEST_COMPOSE:
        wanted = ".".join(map(str, _OLDEST_COMPOSE))
        raise OperatorError(f"Docker Compose {compose.stdout.strip()} is too old: {wanted} or newer is needed")


def require_dotenv() -> None:
    """Return when there is a `.env`. Raises OperatorError that says how to make one."""
    if not DOTENV.exists():
        raise OperatorError("There is no .env, which the containers take their settings from: dotenv.generate makes it")


def environment() -> dict[str, str]:
    """Return the variables of `.env` under those of the shell, as Compose reads them."""
    return endpoints.environment(os.environ, dotenv=DOTENV)


def project() -> str:
    """Return the name that all containers, networks and volumes begin with."""
    return os.environ.get("COMPOSE_PROJECT_NAME") or "push"


def compose(*words: str, dotenv: Path = DOTENV) -> list[str]:
    """Return the command line of Compose; it is to be run in FILES, where a compose.override.yml is heeded too."""
    return ["docker", "compose", "--env-file", str(dotenv), *words]


def run(command: Sequence[str], *, failed: str, extra: Mapping[str, str] | None = None) -> None:
    """Run a command of Docker's on this terminal. Raises OperatorError with `failed` when it fails."""
    done = subprocess.run(command, cwd=FILES, env={**os.environ, **(extra or {})}, check=False)
    if done.returncode != 0:
        raise OperatorError(f"{failed} (exit code {done.returncode}); the reason is above")


def ask(*command: str) -> str:
    """Return what a command of Docker's prints. Raises OperatorError with what it complains of."""
    done = _asked(*command)
    if done.returncode != 0:
        raise OperatorError(f"{' '.join(command[:3])} ... failed: {done.stderr.strip()}")
    return done.stdout


def has_image(reference: str) -> bool:
    """Whether the engine has this image."""
    return _asked("docker", "image", "inspect", "--format", "{{.Id}}", reference).returncode == 0


def states() -> dict[str, State]:
    """Return the state of each container of the project, by its service's name in the compose files."""
    ids = ask("docker", "ps", "--all", "--quiet", *_of_project("oneoff=False")).split()
    if not ids:
        return {}
    # One that is removed between the two questions is not there: what is known of the others counts.
    listed = _asked("docker", "inspect", *ids).stdout
    return {row["Config"]["Labels"]["com.docker.compose.service"]: _state(row) for row in json.loads(listed or "[]")}


def left_over(*, volumes: bool) -> list[str]:
    """Name what is there of the project: containers, networks and, if asked for, volumes."""
    found = ask("docker", "ps", "--all", "--format", "container {{.Names}}", *_of_project())
    found += ask("docker", "network", "ls", "--format", "network {{.Name}}", *_of_project())
    if volumes:
        found += ask("docker", "volume", "ls", "--format", "volume {{.Name}}", *_of_project())
    return found.splitlines()


def held_by_nobody(network: str) -> bool:
    """Whether nothing uses this network, so that the engine has no reason to keep it."""
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
