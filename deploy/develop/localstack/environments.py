"""A virtual environment for each service, with only the packages of its lock.

As in the image of the service, an import of any other package fails. A library can load an optional package if it is
installed: structlog loads rich. Without these packages, a measurement of memory is as in the image. The environment
consists of links into the environment of this process. Their creation takes 0.1 s, once.
"""

import functools
import hashlib
import sys
import sysconfig
import tempfile
import venv
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from deploy.develop import locks
from deploy.errors import OperatorError


@functools.cache
def python_of(service: str) -> str:
    """Return the interpreter of a service's environment, which is created at the first use.

    Raises OperatorError when a package of the lock is not installed.
    """
    lock = locks.LOCKS / f"{service}.txt"
    installed = [found for pin in locks.pins(lock) if (found := _distribution(pin, lock)) is not None]
    environment = Path(sys.prefix) / "services" / f"{service}-{_digest(installed)}"
    if not environment.exists():
        _make(environment, installed)
    return str(environment / "bin" / "python")


def _distribution(pin: locks.Pin, lock: Path) -> Distribution | None:
    try:
        return distribution(pin.name)
    except PackageNotFoundError:
        if pin.always:
            raise OperatorError(
                f"{lock.name} contains {pin.name}, which is not installed: delete .venv and run the command again"
            ) from None
        return None


def _digest(installed: list[Distribution]) -> str:
    versions = "\n".join(sorted(f"{each.name}=={each.version}" for each in installed))
    return hashlib.sha256(versions.encode()).hexdigest()[:12]


def _make(environment: Path, installed: list[Distribution]) -> None:
    """Create the environment in a temporary directory, then rename it: several runs can begin at the same time."""
    environment.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=environment.parent, prefix=".") as folder:
        made = Path(folder) / environment.name
        venv.create(made, symlinks=True, with_pip=False)
        packages = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(made), "platbase": str(made)}))
        for each in installed:
            for entry in _entries(each):
                link = packages / entry.name
                if not link.is_symlink():  # packages can share a folder
                    link.symlink_to(entry)
        try:
            made.rename(environment)
        except OSError:  # another run was first
            if not environment.exists():
                raise


def _entries(installed: Distribution) -> set[Path]:
    """Return the files and folders that a package installed."""
    tops = {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}
    return {Path(str(installed.locate_file(top))) for top in tops}
