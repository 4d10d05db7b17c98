"""An environment for each service, with what its lock names and nothing else that a developer has installed.

As in its image, an import of anything else fails, and what a library loads only because it happens to be there
(structlog takes rich, for one) is not in the memory that is measured. Made of links into the environment that this
process runs in: that costs a tenth of a second, once.
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
    """Return the interpreter of a service's environment, which is made when it is not there.

    Raises OperatorError when the lock names what is not installed.
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
                f"{lock.name} names {pin.name}, which is not installed: delete .venv and run this again"
            ) from None
        return None


def _digest(installed: list[Distribution]) -> str:
    versions = "\n".join(sorted(f"{each.name}=={each.version}" for each in installed))
    return hashlib.sha256(versions.encode()).hexdigest()[:12]


def _make(environment: Path, installed: list[Distribution]) -> None:
    """Make it elsewhere and move it into place whole: several runs may begin at the same time."""
    environment.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=environment.parent, prefix=".") as folder:
        made = Path(folder) / environment.name
        venv.create(made, symlinks=True, with_pip=False)
        packages = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(made), "platbase": str(made)}))
        for each in installed:
            for entry in _entries(each):
                link = packages / entry.name
                if not link.is_symlink():  # several may share a folder
                    link.symlink_to(entry)
        try:
            made.rename(environment)
        except OSError:  # another run was faster
            if not environment.exists():
                raise


def _entries(installed: Distribution) -> set[Path]:
    """List the files and folders that a package put into its environment's folder of packages."""
    tops = {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}
    return {Path(str(installed.locate_file(top))) for top in tops}
