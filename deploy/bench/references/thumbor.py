"""thumbor, in an environment of its own: it needs an older Pillow than the imageserver."""

import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from deploy.develop.localstack import cache
from deploy.develop.localstack.ports import LOOPBACK, free_port
from deploy.develop.localstack.processes import LocalProcess
from deploy.errors import OperatorError

LOCK: Final = Path(__file__).with_name("thumbor.txt")
_INSTALL_S: Final = 600
_CONFIGURATION: Final = """
LOADER = "thumbor.loaders.file_loader"
FILE_LOADER_ROOT_PATH = "{pictures}"
STORAGE = "thumbor.storages.no_storage"
RESULT_STORAGE = "{result_storage}"
RESULT_STORAGE_FILE_STORAGE_ROOT_PATH = "{results}"
RESULT_STORAGE_STORES_UNSAFE = True
ALLOW_UNSAFE_URL = True
QUALITY = {quality}
PROGRESSIVE_JPEG = False
"""


def thumbor_python(say: Callable[[str], object]) -> str:
    """Return the interpreter of thumbor's environment, which is installed at the first use. Raises OperatorError."""

    def install(partial: Path) -> None:
        say("First use of thumbor here: fetching it from the package index ...")
        # A rename keeps the environment working: its interpreter is a link to that of this process.
        venv.create(partial, symlinks=True, with_pip=True)
        pip = [str(partial / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        command = [*pip, "--quiet", "--require-hashes", "--requirement", str(LOCK)]
        try:
            done = cache.run_bound(command, timeout_s=_INSTALL_S)
        except subprocess.TimeoutExpired:
            raise OperatorError(f"thumbor was not installed within {_INSTALL_S} s") from None
        if done.returncode:
            last = "\n    ".join((done.stdout + done.stderr).strip().splitlines()[-6:])
            raise OperatorError(f"thumbor could not be installed:\n    {last}")

    platform = f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"
    folder = cache.ensure(cache.cache_folder() / f"thumbor-{cache.digest(LOCK)}-{platform}", install)
    return str(folder / "bin" / "python")


class Thumbor(LocalProcess):
    """One process of thumbor. It reads pictures from a folder, and may keep what it made."""

    def __init__(  # noqa: PLR0913 - what a server needs
        self,
        folder: Path,
        *,
        python: str,
        pictures: Path,
        quality: int,
        keeps_results: bool,
        within: Sequence[str],
    ) -> None:
        folder.mkdir(parents=True)
        self.port = free_port()
        storage = "file_storage" if keeps_results else "no_storage"
        configuration = folder / "thumbor.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                pictures=pictures,
                result_storage=f"thumbor.result_storages.{storage}",
                results=folder / "results",
                quality=quality,
            )
        )
        address = ("-i", LOOPBACK, "-p", str(self.port))
        command = [*within, python, "-m", "thumbor.server", *address, "-c", str(configuration), "-l", "error"]
        super().__init__("thumbor", command, log=folder / "thumbor.log", env={}, cwd=folder)
