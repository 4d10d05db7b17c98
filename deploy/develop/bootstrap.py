"""Create the virtual environment on a machine that has only Python, and run the task in it.

This module uses only the standard library and the syntax of Python 3.6, so that an old interpreter can report that it
is too old.
"""

import ast
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn, TextIO

from deploy.starting import hold_interrupts, raised_interrupts

OLDEST_PYTHON = (3, 11)
ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "deploy" / "locks" / "dev.txt"

# The variable of uv for each option of pip. uv does not read the configuration of pip.
_UV_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "timeout": "UV_HTTP_TIMEOUT",
    "retries": "UV_HTTP_RETRIES",
}

_NETWORK_ERRORS = re.compile(
    r"NewConnectionError|ConnectionError|Name or service not known|name resolution|ReadTimeout|ConnectTimeout"
    r"|from versions: none|Network is unreachable|ProxyError",
)


class BootstrapError(Exception):
    """The environment can't be created. The message is for the operator."""


class Environment:
    """The virtual environment of a clone, and its state.

    The file `stamp` is written last. It names the lock, the Python and the folder of a complete environment. The file
    `unfinished` exists while packages are installed. If it exists and no process holds the mutex, a run was
    interrupted; then the environment is created again.
    """

    def __init__(self, root: Path, lock: Path) -> None:
        self.folder = root / ".venv"
        self.lock = lock
        self.python = self.folder / "bin" / "python"
        self.stamp = self.folder / ".push-complete"
        self.unfinished = self.folder / ".push-unfinished"
        self.mutex = root / ".cache" / "bootstrap.lock"

    def wanted_stamp(self) -> str:
        """Return the text of a valid stamp. It depends on the lock, on Python and on the folder of the clone."""
        digest = hashlib.sha256(self.lock.read_bytes()).hexdigest()
        return "{} {}.{} {}\n".format(digest, *sys.version_info[:2], self.folder)

    def is_complete(self) -> bool:
        """Return whether the environment is complete. This takes milliseconds."""
        try:
            return self.stamp.read_text() == self.wanted_stamp() and os.access(str(self.python), os.X_OK)
        except OSError:
            return False

    def ensure(self) -> None:
        """Create or update the environment unless it is complete. Raises BootstrapError."""
        if self.is_complete():
            return
        self.mutex.parent.mkdir(exist_ok=True)
        with self.mutex.open("w") as mutex:
            _wait_for_turn(mutex)
            if self.is_complete():  # the other run has completed it
                return
            if self.unfinished.exists() or not self._has_right_python():
                shutil.rmtree(str(self.folder), ignore_errors=True)
                self._create()
            self._install(mutex.fileno())
            self.stamp.write_text(self.wanted_stamp())

    def _has_right_python(self) -> bool:
        program = "import pip, sys; print(*sys.version_info[:2])"
        try:
            done = subprocess.run([str(self.python), "-c", program], stdout=subprocess.PIPE, check=False)
        except OSError:
            return False
        return done.returncode == 0 and done.stdout.decode().split() == [str(n) for n in sys.version_info[:2]]

    def _create(self) -> None:
        # This process may run in a virtual environment, even in the removed one. Use the interpreter that created that.
        base = getattr(sys, "_base_executable", None) or sys.executable
        done = _run([base, "-m", "venv", str(self.folder)])
        if done.returncode != 0:
            shutil.rmtree(str(self.folder), ignore_errors=True)
            if "ensurepip" in done.text or "No module named venv" in done.text:
                raise BootstrapError(
                    "This Python has no module venv with pip. On Debian and Ubuntu: apt-get install python3-venv"
                )
            raise BootstrapError("The virtual environment could not be created:\n" + _tail(done.text))

    def _install(self, mutex: int) -> None:
        packages = sum(1 for line in self.lock.read_text().splitlines() if re.match(r"[A-Za-z0-9]", line))
        _report(f"First run: installing {packages} packages into .venv ...")
        self.stamp.unlink() if self.stamp.exists() else None
        self.unfinished.write_text("")
        began_s = time.monotonic()
        if not self._install_with_uv(mutex):
            done = self._pip(self.lock, mutex, watch=_Progress(packages))
            if done.returncode != 0:
                if _NETWORK_ERRORS.search(done.text):
                    raise BootstrapError(
                        "No package index responds. The first run needs a network, or PIP_INDEX_URL with a mirror:\n"
                        + _tail(done.text)
                    )
                raise BootstrapError("The packages could not be installed:\n" + _tail(done.text))
        self.unfinished.unlink()
        _report(f"Installed in {time.monotonic() - began_s:.0f} s")

    def _install_with_uv(self, mutex: int) -> bool:
        """Install the lock with the uv that the lock pins. Return False if pip has to install it.

        With empty caches uv takes 10 s for 111 packages, pip 40 s. One reason: uv writes no bytecode, so Python
        compiles a module at its first import.
        """
        pin = re.search(r"^uv==[^\n]*(?<=\\)\n(?:[^\n]*\\\n)*[^\n]*", self.lock.read_text(), re.MULTILINE)
        if pin is None:
            return False
        only_uv = self.folder / ".push-uv.txt"
        only_uv.write_text(pin.group(0) + "\n")
        done = self._pip(only_uv, mutex)
        if done.returncode == 0:
            command = [str(self.folder / "bin" / "uv"), "pip", "install", "--python", str(self.python)]
            command += ["--require-hashes", "--requirement", str(self.lock)]
            options = self._pip_options()
            if options.get("no-index", "").lower() in ("1", "true", "yes", "on"):  # uv has no variable for it
                command.append("--no-index")
            done = _run(command, keep=mutex, env=_uv_environment(options))
        if done.returncode != 0:
            _report("uv failed, so pip installs the packages, in about a minute. The error:\n" + _tail(done.text))
        return done.returncode == 0

    def _pip(self, requirements: Path, mutex: int, watch: "Callable[[str], None]" = lambda _line: None) -> "_Done":
        # pip and uv inherit the mutex. If this process is killed, no other run begins while they still write.
        command = [str(self.python), "-m", "pip", "install", "--progress-bar", "off", "--disable-pip-version-check"]
        command += ["--no-input", "--require-hashes", "--requirement", str(requirements)]
        return _run(command, keep=mutex, watch=watch)

    def _pip_options(self) -> "dict[str, str]":
        """Return the options of pip from its configuration files and from PIP_ variables."""
        listed = _run([str(self.python), "-m", "pip", "config", "list"]).text
        found = re.findall(r"^(global|install|:env:)\.([a-z-]+)=(.+)$", listed, re.MULTILINE)
        found.sort(key=lambda entry: ("global", "install", ":env:").index(entry[0]))  # the last value wins, as in pip
        return {name: str(ast.literal_eval(value)) for _, name, value in found}


def _uv_environment(pip_options: "dict[str, str]") -> "dict[str, str]":
    """Return the environment of this process, plus pip's options as variables of uv. Do not replace UV_ variables."""
    environment = dict(os.environ)
    # Like pip, accept a version from any index. The hashes make that safe.
    environment.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    for name, variable in _UV_VARIABLES.items():
        if name in pip_options and not (variable.startswith("UV_") and variable in os.environ):
            value = pip_options[name]
            environment[variable] = ",".join(value.split()) if name == "find-links" else value
    return environment


class _Done(NamedTuple):
    returncode: int
    text: str


class _Progress:
    """Shows the number of downloaded packages on one line of a terminal."""

    def __init__(self, packages: int) -> None:
        self.packages = packages
        self.downloaded = 0

    def __call__(self, line: str) -> None:
        """Read one line of pip's output."""
        if not sys.stderr.isatty():
            return
        if line.startswith("Collecting "):
            self.downloaded += 1
            sys.stderr.write(f"\r  downloaded {self.downloaded} of {self.packages} ")
        elif line.startswith("Installing collected packages"):
            sys.stderr.write("\r  unpacking the packages ...     \n")
        sys.stderr.flush()


def _run(
    command: "list[str]",
    keep: "int | None" = None,
    watch: "Callable[[str], None]" = lambda _line: None,
    env: "dict[str, str] | None" = None,
) -> _Done:
    passed = () if keep is None else (keep,)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=passed,
        env=env,
    ) as process:
        lines = []
        for raw in process.stdout or ():
            line = raw.decode(errors="replace")
            lines.append(line)
            watch(line)
    return _Done(process.returncode, "".join(lines))


def _tail(text: str) -> str:
    return "\n".join("    " + line for line in text.strip().splitlines()[-6:])


def _wait_for_turn(mutex: "TextIO") -> None:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(mutex, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    _report("Another run is installing the packages; waiting for it ...")
    fcntl.flock(mutex, fcntl.LOCK_EX)


def _report(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()


def main(arguments: "list[str]") -> NoReturn:
    """Replace this process with the tasks, in the environment. Exits with 1 or 2 if this fails."""
    if sys.version_info < OLDEST_PYTHON:
        wanted, present = (".".join(map(str, version[:2])) for version in (OLDEST_PYTHON, sys.version_info))
        _report(f"This is Python {present}. Python {wanted} or newer is needed.")
        sys.exit(2)
    environment = Environment(ROOT, LOCK)
    try:
        with raised_interrupts():
            environment.ensure()
    except BootstrapError as error:
        _report(str(error))
        sys.exit(1)
    except OSError as error:
        _report(f"The virtual environment could not be created: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        _report("Interrupted. The next run installs the packages again.")
        sys.exit(130)
    # Paths on the command line are relative to the folder of the caller. The tasks read it from this variable.
    os.environ["PUSH_DIRECTORY"] = str(Path.cwd())
    os.chdir(str(ROOT))
    command = [str(environment.python), "-m", "deploy.cli", *(arguments or ["--list"])]
    # Block interrupts until deploy.cli handles them. An interrupt during the start of Python would print a traceback.
    hold_interrupts()
    os.execv(command[0], command)  # noqa: S606 - exec, so that signals reach the task and its exit code is returned
