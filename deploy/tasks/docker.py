"""The tasks docker.images.* and docker.compose.*: Push in containers, on one machine."""

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from deploy.tasks import exit_with, report_errors


@task(name="build", help={"service": "only this service's image (default: all, in parallel)"})
def build_images(_context: Context, service: str = "") -> None:
    """Build the images of the services, tagged with PUSH_VERSION."""
    from deploy.containers import images

    with report_errors():
        images.build(service)


@task(
    name="push",
    help={
        "registry": "target: host[:port][/folder] (default: IMAGE_REGISTRY)",
        "service": "only this service's image (default: all)",
    },
)
def push_images(_context: Context, registry: str = "", service: str = "") -> None:
    """Push the images to a registry."""
    from deploy.containers import images

    with report_errors():
        images.push(registry, service)


@task
def create_periphery(_context: Context) -> None:
    """Start the dependencies of the services: networks, volumes, data stores, Kafka topics."""
    from deploy.containers import stack

    with report_errors():
        stack.create_periphery()


@task(
    iterable=["profile"],
    help={
        "build": "build the images first",
        "profile": "also start: observability (Prometheus, Grafana), load (visitors), flower or nfs; can be repeated",
        "timeout": "seconds to wait until all containers are healthy",
    },
)
def spin_up(_context: Context, profile: list[str], build: bool = False, timeout: int = 300) -> None:
    """Start all containers, and return when they are healthy."""
    from deploy.containers import stack

    with report_errors():
        stack.spin_up(build=build, profiles=profile, timeout_s=timeout)


@task(
    help={
        "keep-data": "keep the volumes: events, counters, positions",
        "yes": "remove the data without asking",
    }
)
def spin_down(_context: Context, keep_data: bool = False, yes: bool = False) -> None:
    """Stop all containers and remove them, their networks and, after confirmation, their data."""
    from deploy.containers import stack

    with report_errors():
        stack.spin_down(keep_data=keep_data, yes=yes)


@task(help={"only-print": "open no browser, even in a desktop session"})
def open_urls(_context: Context, only_print: bool = False) -> None:
    """Print the addresses of the pages, and open them."""
    from deploy.containers import stack

    with report_errors():
        stack.open_urls(only_print=only_print)


@task(
    name="logs",
    help={
        "follow": "continue with new lines until Ctrl-C",
        "service": "only this container",
        "since": "only lines since a time (2026-11-23T10:00:00Z) or an age (90s, 30m, 2h)",
    },
)
def show_logs(_context: Context, service: str = "", follow: bool = False, since: str = "") -> None:
    """Print the logs of the containers."""
    from deploy.containers import stack

    with report_errors():
        stack.show_logs(service, follow=follow, since=since)


@task(name="run", help={"command": 'the task and its flags: "status --json", "dead.list", "erase --id DEVICE --yes"'})
def run_inside(_context: Context, command: str = "") -> None:
    """Run a task (status, dead.*, erase) in a container that reaches the stores."""
    from deploy.containers import stack

    with report_errors():
        exit_with(stack.run_inside(command))


collection = Collection("docker")
collection.add_collection(Collection("images", build_images, push_images))
collection.add_collection(Collection("compose", create_periphery, spin_up, spin_down, open_urls, show_logs, run_inside))
