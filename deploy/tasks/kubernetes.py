"""`python3 tasks.py kubernetes...`: operate a cluster through the current context of the kubeconfig."""

import os

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from deploy.paths import ROOT
from deploy.tasks import path, report_errors

_OVERLAY = "local, cloud, the name of an overlay that cloud.generate wrote, or the path of a directory"
_CONTEXT = "the context of the kubeconfig (default: the current one)"
_NAMESPACE = "the namespace of the installation"


@task(name="create", help={"overlay": _OVERLAY, "context": _CONTEXT})
def create_namespace(_context: Context, overlay: str = "local", context: str = "") -> None:
    """Create the namespace of an overlay, with its Pod Security labels."""
    with report_errors():
        from deploy.cluster import api, namespaces
        from deploy.cluster import overlay as overlays

        with api.connect(context) as cluster:
            namespaces.create(cluster, overlays.build(overlays.find(overlay, path(overlay))), print)


@task(name="delete", help={"namespace": _NAMESPACE, "context": _CONTEXT, "yes": "do not ask for confirmation"})
def delete_namespace(_context: Context, namespace: str = "push", context: str = "", yes: bool = False) -> None:
    """Delete a namespace with everything in it: workloads, secrets, volumes and their data."""
    with report_errors():
        from deploy.cluster import api, namespaces

        with api.connect(context) as cluster:
            namespaces.delete(cluster, namespace, print, ask=None if yes else input)


@task(
    name="load",
    help={"overlay": _OVERLAY, "context": _CONTEXT, "dotenv": "the file with the values (default: .env)"},
)
def load_secrets(_context: Context, overlay: str = "local", context: str = "", dotenv: str = "") -> None:
    """Write the secrets of an overlay's containers from .env into the cluster, and no other variable."""
    with report_errors():
        from deploy.cluster import api, secrets
        from deploy.cluster import overlay as overlays

        source = path(dotenv) if dotenv else ROOT / ".env"
        with api.connect(context) as cluster:
            secrets.load(cluster, overlays.build(overlays.find(overlay, path(overlay))), source, print)


@task(name="show", help={"namespace": _NAMESPACE, "context": _CONTEXT})
def show_secrets(_context: Context, namespace: str = "push", context: str = "") -> None:
    """Show the names of the keys in the cluster's secrets, never their values."""
    with report_errors():
        from deploy.cluster import api, secrets

        with api.connect(context) as cluster:
            secrets.show(cluster, namespace, print)


@task(name="delete", help={"namespace": _NAMESPACE, "context": _CONTEXT})
def delete_secrets(_context: Context, namespace: str = "push", context: str = "") -> None:
    """Delete the secrets of Push from the cluster."""
    with report_errors():
        from deploy.cluster import api, secrets

        with api.connect(context) as cluster:
            secrets.delete(cluster, namespace, print)


@task(
    name="up",
    help={
        "overlay": _OVERLAY,
        "context": _CONTEXT,
        "timeout": "seconds for everything to become ready (default 600)",
        "patience": "seconds for an error, such as an image that can't be pulled, to disappear (default 30)",
    },
)
def spin_up(
    _context: Context, overlay: str = "local", context: str = "", timeout: float = 600.0, patience: float = 30.0
) -> None:
    """Apply an overlay in order and wait until all of it is ready. Report what prevents it."""
    with report_errors():
        from deploy.cluster import api, spin
        from deploy.cluster import overlay as overlays

        manifests = overlays.build(overlays.find(overlay, path(overlay)))
        with api.connect(context) as cluster:
            spin.up(cluster, manifests, print, spin.Patience(timeout_s=timeout, fault_s=patience))


@task(
    name="down",
    help={
        "overlay": _OVERLAY,
        "context": _CONTEXT,
        "timeout": "seconds for the pods to end: trackers drain their lists first (default 300)",
        "volumes": "delete the volumes too, with all data",
    },
)
def spin_down(
    _context: Context, overlay: str = "local", context: str = "", timeout: float = 300.0, volumes: bool = False
) -> None:
    """Delete the objects of an overlay. Its namespace, secrets and (without --volumes) volumes stay."""
    with report_errors():
        from deploy.cluster import api, spin
        from deploy.cluster import overlay as overlays

        manifests = overlays.build(overlays.find(overlay, path(overlay)))
        with api.connect(context) as cluster:
            spin.down(cluster, manifests, print, spin.Patience(timeout_s=timeout), with_volumes=volumes)


@task(name="ps", help={"namespace": _NAMESPACE, "context": _CONTEXT})
def show_pods(_context: Context, namespace: str = "push", context: str = "") -> None:
    """Show the pods: ready containers, errors, restarts."""
    with report_errors():
        from rich.console import Console

        from deploy.cluster import api, inspect

        with api.connect(context) as cluster:
            Console(width=_width()).print(inspect.pods(cluster, namespace))


@task(
    name="logs",
    help={
        "container": "a container of deploy/catalog.toml, for example tracker or event-counter",
        "context": _CONTEXT,
        "namespace": _NAMESPACE,
        "tail": "lines of each pod",
    },
)
def show_logs(
    _context: Context, container: str = "tracker", namespace: str = "push", context: str = "", tail: int = 50
) -> None:
    """Show the last lines of a container in every pod that has it."""
    with report_errors():
        from deploy.cluster import api, inspect

        with api.connect(context) as cluster:
            for line in inspect.logs(cluster, namespace, container=container, tail=tail):
                print(line)


@task(name="resources", help={"namespace": _NAMESPACE, "context": _CONTEXT})
def show_resources(_context: Context, namespace: str = "push", context: str = "") -> None:
    """Show the requests, limits and, with metrics-server, the usage of each container."""
    with report_errors():
        from rich.console import Console

        from deploy.cluster import api, inspect

        with api.connect(context) as cluster:
            Console(width=_width()).print(inspect.resources(cluster, namespace))


def _width() -> int | None:
    """Return the width for tables. Piped output keeps each row on one line."""
    return None if os.isatty(1) else 160


collection = Collection("kubernetes", show_pods, show_logs, show_resources)
collection.add_collection(Collection("namespace", create_namespace, delete_namespace))
collection.add_collection(Collection("secrets", load_secrets, show_secrets, delete_secrets))
collection.add_collection(Collection("spin", spin_up, spin_down))
