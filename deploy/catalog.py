"""The catalog: every container of the platform and every third-party image, read from `catalog.toml`."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from deploy.errors import OperatorError

CATALOG = Path(__file__).with_name("catalog.toml")
INTERNAL_PORT = 9464
"""The port of /livez, /readyz and /metrics in every service's container."""

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
    profile: str = ""


@dataclass(frozen=True)
class Catalog:
    """All containers by name, in the order of the file, and the third-party images by purpose."""

    containers: Mapping[str, Container]
    images: Mapping[str, str]

    @property
    def services(self) -> tuple[str, ...]:
        """The directories under services/ that have an image, each once."""
        return tuple(dict.fromkeys(found.service for found in self.containers.values() if found.service))

    def pod_of(self, name: str) -> str:
        """Return the pod of a container: its own name, unless it shares a pod."""
        return self.containers[name].pod or name


@cache
def load(path: Path = CATALOG) -> Catalog:
    """Read the catalog. Raises OperatorError for an invalid row."""
    written = tomllib.loads(path.read_text(encoding="utf-8"))
    images = written["images"]
    containers = {name: _container(name, row) for name, row in written["containers"].items()}
    for found in containers.values():
        if bool(found.service) == bool(found.image):
            raise OperatorError(f"{path.name}: {found.name} needs either a service or an image")
        if found.image and found.image not in images:
            raise OperatorError(f"{path.name}: {found.name} uses the image {found.image!r}, which is not in [images]")
        unknown = ", ".join(sorted(set(found.reaches) - containers.keys()))
        if unknown:
            raise OperatorError(f"{path.name}: {found.name} reaches {unknown}, which is not a container of the catalog")
    return Catalog(containers, images)


def _container(name: str, row: Mapping[str, Any]) -> Container:
    lists = {field: tuple(value) for field, value in row.items() if isinstance(value, list)}
    try:
        return Container(name=name, **{**row, **lists})
    except TypeError as error:
        raise OperatorError(f"catalog.toml: {name}: {error}") from error
