"""A cluster on this machine, by minikube, which reports its own errors."""

import shutil
import subprocess
from collections.abc import Sequence

from deploy.errors import OperatorError

# The sum of the base's requests on one node, with room for the cluster's own pods.
_START = ("start", "--cpus=4", "--memory=8g", "--addons=metrics-server", "--cni=calico")


def start() -> int:
    """Start the cluster with a network that enforces policies. Returns minikube's exit code."""
    return _run(_START)


def stop() -> int:
    """Stop the cluster and keep its data. Returns minikube's exit code."""
    return _run(("stop",))


def dashboard() -> int:
    """Show the dashboard in a browser until Ctrl-C. Returns minikube's exit code."""
    return _run(("dashboard",))


def docker_env() -> int:
    """Print variables that make `docker build` use the node's engine, for `eval`. Returns minikube's exit code."""
    return _run(("docker-env",))


def _run(arguments: Sequence[str]) -> int:
    program = shutil.which("minikube")
    if program is None:
        raise OperatorError("minikube is not installed: install it from your system's packages")
    return subprocess.run([program, *arguments], check=False).returncode
