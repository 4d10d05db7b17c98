"""The images of the services: built from deploy/Dockerfile, tagged with PUSH_VERSION, pushed to a registry."""

import re
import subprocess
import time

from deploy import catalog
from deploy.containers import engine
from deploy.errors import OperatorError
from deploy.paths import ROOT

OPERATOR = "operator"
"""The image of the operators' tasks and of the synthetic visitors. It is not a service, so it is not in the catalog."""
FLOWER = "flower"
"""The image of the optional profile of this name. It is built only when it is asked for."""
_DEFAULT_VERSION = "dev"
_REGISTRY = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d+)?(/[a-z0-9._-]+)*")
_VERSION = re.compile(r"\w[\w.-]{0,127}")


def version() -> str:
    """Return the tag. Raises OperatorError for an invalid one."""
    environ = engine.environment()
    wanted = environ.get("PUSH_VERSION", _DEFAULT_VERSION)
    if not _VERSION.fullmatch(wanted):
        raise OperatorError(
            f"PUSH_VERSION={wanted}: invalid tag. Use at most 128 letters, digits, dots, dashes and underscores."
        )
    return wanted


def reference(image: str) -> str:
    """Return the name and tag of an image of Push, as in the compose files."""
    return f"push/{image}:{version()}"


def build(service: str) -> None:
    """Build the image of one service, or in parallel all that the system needs. Raises OperatorError."""
    wanted = _wanted(service)
    named = ", ".join(reference(image) for image in wanted)  # called first, because it checks the tag
    engine.require_engine()
    begun = time.monotonic()
    print(f"building {named}", flush=True)
    arguments = {"BASE_IMAGE": catalog.load().images["python"], "REVISION": _revision()}
    words = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    # Compose builds images in parallel, and shared stages once. A build uses only names and tags, so .env.template is
    # sufficient without .env.
    dotenv = engine.DOTENV if engine.DOTENV.exists() else engine.TEMPLATE
    command = engine.compose("build", *words, *wanted.values(), dotenv=dotenv)
    engine.run(command, failed="the build failed", extra={"PUSH_VERSION": version()})
    for image in wanted:
        size = int(engine.ask("docker", "image", "inspect", "--format", "{{.Size}}", reference(image)))
        print(f"{reference(image)}  {size / 1e6:,.0f} MB")
    print(f"built in {time.monotonic() - begun:.0f} s")


def push(registry: str, service: str) -> None:
    """Push the image of one service, or all images, to a registry. Raises OperatorError."""
    environ = engine.environment()
    where = (registry or environ.get("IMAGE_REGISTRY", "")).rstrip("/")
    if not where:
        raise OperatorError("--registry is missing: use --registry HOST[/FOLDER], or set IMAGE_REGISTRY in .env")
    if not _REGISTRY.fullmatch(where):
        raise OperatorError(f'invalid registry "{where}". Use HOST[:PORT][/FOLDER] without https://.')
    wanted = _wanted(service)
    engine.require_engine()
    missing = [reference(image) for image in wanted if not engine.has_image(reference(image))]
    if missing:
        raise OperatorError(f"not built yet: {', '.join(missing)}. Run docker.images.build.")
    for number, image in enumerate(wanted, start=1):
        target = f"{where}/{reference(image)}"
        print(f"{number} of {len(wanted)}: {target}", flush=True)
        engine.ask("docker", "tag", reference(image), target)
        engine.run(["docker", "push", "--quiet", target], failed=f"pushing {target} failed")


def _wanted(service: str) -> dict[str, str]:
    """Return the selected images, each with a container of the compose files that runs it. All leave out Flower."""
    containers = list(catalog.load().containers.values())
    # Several containers can run one image. Use the first container.
    every = {found.service: found.name for found in reversed(containers) if found.service} | {OPERATOR: OPERATOR}
    if not service:
        return dict(sorted(every.items()))
    every[FLOWER] = FLOWER
    if service not in every:
        raise OperatorError(f"--service {service}: unknown service. Use one of {', '.join(sorted(every))}.")
    return {service: every[service]}


def _revision() -> str:
    """Return the current commit, marked as dirty when files differ, or unknown outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"
