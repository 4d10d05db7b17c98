"""minikube: a cluster on this machine. A thin cover: minikube itself does it, and says what goes wrong."""

import shutil
import subprocess
from collections.abc import Sequence

from deploy.errors import OperatorError

# What the base asks for in all, on one node, with room for the cluster's own parts.
_START = ("start", "--cpus=4", "--memory=8g", "--addons=metrics-server", "--cni=calico")


def start() -> int:
    """Start the cluster, with a network that obeys policies; return minikube's exit code."""
    return _run(_START)


def stop() -> int:
    """Stop the cluster and keep its data; return minikube's exit code."""
    return _run(("stop",))


def dashboard() -> int:
    """Show the dashboard in a browser until Ctrl-C; return minikube's exit code."""
    return _run(("dashboard",))


def docker_env() -> int:
    """Print what makes `docker build` build on the cluster's node, for `eval`; return minikube's exit code."""
    return _run(("docker-env",))


def _run(arguments: Sequence[str]) -> int:
    program = shutil.which("minikube")
    if program is None:
        raise OperatorError("there is no minikube on this machine: install it from your system's packages")
    return subprocess.run([program, *arguments], check=False).returncode
