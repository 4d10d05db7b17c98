"""`python3 tasks.py minikube...`: a cluster on this machine, by minikube."""

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from deploy.cluster import minikube
from deploy.tasks import exit_with, report_errors


@task(name="start")
def start_minikube(_context: Context) -> None:
    """Start a cluster on this machine that is large enough for the local overlay."""
    with report_errors():
        exit_with(minikube.start())


@task(name="stop")
def stop_minikube(_context: Context) -> None:
    """Stop the cluster on this machine. Its data stays."""
    with report_errors():
        exit_with(minikube.stop())


@task(name="dashboard")
def show_dashboard(_context: Context) -> None:
    """Show the cluster's dashboard in a browser until Ctrl-C."""
    with report_errors():
        exit_with(minikube.dashboard())


@task(name="docker-env")
def show_docker_env(_context: Context) -> None:
    """Print the variables that make docker build on the node: eval "$(python3 tasks.py minikube.docker-env)"."""
    with report_errors():
        exit_with(minikube.docker_env())


collection = Collection("minikube", start_minikube, stop_minikube, show_dashboard, show_docker_env)
