"""The catalog: every container of the platform and every third-party image, read from `catalog.toml`."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from deploy.errors import OperatorError

CATALOG = Path(__file__).with_name("catalog.toml")
INTERNAL_PORT = 9464
"""The port of /livez, /readyz and /metrics in every service's container."""

_EVERY = ("*",)

ContainerKind = Literal["server", "worker", "store", "job"]


@dataclass(frozen=True, kw_only=True)
class Container:
    """One container. `catalog.toml` explains each field."""

    name: str
    kind: ContainerKind
    service: str = ""
    image: str = ""
    arguments: tuple[str, ...] = ()
    port: int = 0
    host: tuple[str, ...] = ()
    admin: bool = False
    pod: str = ""
    reaches: tuple[str, ...] = ()
    reaches_internal: tuple[str, ...] = ()
    internet: bool = False
    secrets: tuple[str, ...] = ()
    profile: str = ""
    stage: str = ""
    scales_by_lag: bool = False
    scales_by_queues: bool = False
    acts: bool = False
    synthetic: bool = False
    page: str = "/"
    prefix: str = ""

    @property
    def is_watched(self) -> bool:
        """Whether Prometheus scrapes its internal port: a service's container that runs until it is stopped."""
        return self.is_python and self.kind != "job"

    @property
    def is_python(self) -> bool:
        """Whether it runs one of our Python services. A store is a program of others, also in an image of ours."""
        return bool(self.service) and self.kind != "store"

    @property
    def port_variable(self) -> str:
        """The variable of the port that a server listens on."""
        return f"{self._prefix}_PORT"

    @property
    def host_variable(self) -> str:
        """The variable of the address that a server listens on."""
        return f"{self._prefix}_HOST"

    @property
    def _prefix(self) -> str:
        return self.prefix or self.service.upper()


@dataclass(frozen=True)
class Catalog:
    """All containers by name, in the order of the file, and the third-party images by purpose."""

    containers: Mapping[str, Container]
    images: Mapping[str, str]
    addresses: Mapping[str, str]
    """The value of each variable that holds the address of a container."""

    @property
    def services(self) -> tuple[str, ...]:
        """The directories under services/ that have an image, each once."""
        return tuple(dict.fromkeys(found.service for found in self.containers.values() if found.service))

    @property
    def python_services(self) -> tuple[str, ...]:
        """The services with settings, built by deploy/Dockerfile."""
        return tuple(dict.fromkeys(found.service for found in self.containers.values() if found.is_python))

    @property
    def watched(self) -> tuple[Container, ...]:
        """The containers whose internal port Prometheus scrapes."""
        return tuple(found for found in self.containers.values() if found.is_watched)

    @property
    def processes(self) -> tuple[Container, ...]:
        """The rows of the catalog that run as processes without containers. They are scraped and send no events."""
        return tuple(found for found in self.watched if not found.synthetic)

    @property
    def consumers(self) -> tuple[str, ...]:
        """The names of the consumers that count events."""
        counting = (found for found in self.containers.values() if found.service == "consumers" and not found.acts)
        return tuple(found.arguments[0] for found in counting)

    @property
    def handlers(self) -> tuple[str, ...]:
        """The names of the action consumers. Each has a queue of its own for the workers."""
        acting = (found for found in self.containers.values() if found.acts and found.scales_by_lag)
        return tuple(found.arguments[0] for found in acting)

    def pod_of(self, name: str) -> str:
        """Return the pod of a container: its own name, unless it shares a pod."""
        return self.containers[name].pod or name


@cache
def load(path: Path = CATALOG) -> Catalog:
    """Read the catalog. Raises OperatorError for an invalid row."""
    written = tomllib.loads(path.read_text(encoding="utf-8"))
    images = written["images"]
    containers = {name: _container(name, row) for name, row in written["containers"].items()}
    watched = tuple(found.name for found in containers.values() if found.is_watched)
    for name, found in containers.items():
        if found.reaches == _EVERY:
            containers[name] = replace(found, reaches=watched)
    for found in containers.values():
        if bool(found.service) == bool(found.image):
            raise OperatorError(f"{path.name}: {found.name} needs either a service or an image")
        if found.image and found.image not in images:
            raise OperatorError(f"{path.name}: {found.name} uses the image {found.image!r}, which is not in [images]")
        unknown = ", ".join(sorted(set(found.reaches) - containers.keys()))
        if unknown:
            raise OperatorError(f"{path.name}: {found.name} reaches {unknown}, which is not a container of the catalog")
        silent = ", ".join(sorted(set(found.reaches_internal) - set(watched)))
        if silent:
            raise OperatorError(
                f"{path.name}: {found.name} reaches the internal port of {silent}, which has no internal port"
            )
    return Catalog(containers, images, written["addresses"])


def _container(name: str, row: Mapping[str, Any]) -> Container:
    lists = {field: tuple(value) for field, value in row.items() if isinstance(value, list)}
    try:
        return Container(name=name, **{**row, **lists})
    except TypeError as error:
        raise OperatorError(f"catalog.toml: {name}: {error}") from error
