"""The images of the services: built of deploy/Dockerfile, tagged with PUSH_VERSION, pushed to a registry."""

import re
import subprocess
import time

from deploy import catalog
from deploy.containers import engine
from deploy.errors import OperatorError
from deploy.paths import ROOT

OPERATOR = "operator"
"""The image of the operators' tasks and of the synthetic visitors: no service, so in no row of the catalog."""
_DEFAULT_VERSION = "dev"
_REGISTRY = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d+)?(/[a-z0-9._-]+)*")
_VERSION = re.compile(r"\w[\w.-]{0,127}")


def version() -> str:
    """Return the tag. Raises OperatorError for one that no image can have."""
    environ = engine.environment()
    wanted = environ.get("PUSH_VERSION", _DEFAULT_VERSION)
    if not _VERSION.fullmatch(wanted):
        raise OperatorError(
            f"PUSH_VERSION={wanted}: a tag has letters, digits, dots, dashes and underscores, 128 at most"
        )
    return wanted


def reference(image: str) -> str:
    """Return the name of an image of ours, as the compose files have it."""
    return f"push/{image}:{version()}"


def build(service: str) -> None:
    """Build the image of one service, or all of them side by side. Raises OperatorError."""
    wanted = _wanted(service)
    named = ", ".join(reference(image) for image in wanted)  # before anything is asked: a tag may be impossible
    engine.require_engine()
    begun = time.monotonic()
    print(f"building {named}", flush=True)
    arguments = {"BASE_IMAGE": catalog.load().images["python"], "REVISION": _revision()}
    words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    # Compose builds what it is told of in parallel, and the stages that images share once. Names and tags are all that
    # it reads of the settings, so the template will do where there is no .env yet.
    dotenv = engine.DOTENV if engine.DOTENV.exists() else engine.TEMPLATE
    command = engine.compose("build", *words, *wanted.values(), dotenv=dotenv)
    engine.run(command, failed="the images could not be built", extra={"PUSH_VERSION": version()})
    for image in wanted:
        size = int(engine.ask("docker", "image", "inspect", "--format", "{{.Size}}", reference(image)))
        print(f"{reference(image)}  {size / 1e6:,.0f} MB")
    print(f"built in {time.monotonic() - begun:.0f} s")


def push(registry: str, service: str) -> None:
    """Push the image of one service, or all of them, to a registry. Raises OperatorError."""
    environ = engine.environment()
    where = (registry or environ.get("IMAGE_REGISTRY", "")).rstrip("/")
    if not where:
        raise OperatorError("Which registry? --registry HOST[/FOLDER], or IMAGE_REGISTRY in .env")
    if not _REGISTRY.fullmatch(where):
        raise OperatorError(
            f"{where!r} is no registry: it is a host, perhaps with a port and a folder, without https://"
        )
    wanted = _wanted(service)
    engine.require_engine()
    missing = [reference(image) for image in wanted if not engine.has_image(reference(image))]
    if missing:
        raise OperatorError(f"not built yet: {', '.join(missing)}: docker.images.build makes them")
    for number, image in enumerate(wanted, start=1):
        target = f"{where}/{reference(image)}"
        print(f"{number} of {len(wanted)}: {target}", flush=True)
        engine.ask("docker", "tag", reference(image), target)
        engine.run(["docker", "push", "--quiet", target], failed=f"{target} could not be pushed")


def _wanted(service: str) -> dict[str, str]:
    """Return the images that are asked for, each with a container of the compose files that runs it."""
    containers = list(catalog.load().containers.values())
    # Several containers may run one image: the first stands for it.
    every = {found.service: found.name for found in reversed(containers) if found.service} | {OPERATOR: OPERATOR}
    if not service:
        return dict(sorted(every.items()))
    if service not in every:
        raise OperatorError(f"--service {service}: it is one of {', '.join(sorted(every))}")
    return {service: every[service]}


def _revision() -> str:
    """Return the commit that is checked out, with a mark when files differ from it; unknown outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"
