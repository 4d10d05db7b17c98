"""The lock files: exact versions with hashes, for the tools (dev) and for each service's extra."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from deploy.paths import ROOT

PYPROJECT = ROOT / "pyproject.toml"
LOCKS = ROOT / "deploy" / "locks"

# A lock contains no data of the machine that wrote it: no index, no wheel folder, no command line.
_OPTIONS = (
    *("--universal", "--python-version", "3.11", "--generate-hashes", "--quiet"),
    *("--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"),
)


class Pin(NamedTuple):
    """One pinned version of a package."""

    name: str
    """The name, normalised as in PEP 503."""
    version: str
    always: bool
    """Whether the pin holds on all platforms and Python versions."""


def write_locks(*, upgrade: bool) -> None:
    """Write dev.txt, then each extra's lock with the versions of dev.txt. Raises CalledProcessError."""
    LOCKS.mkdir(exist_ok=True)
    extras = sorted(_project()["project"]["optional-dependencies"])
    everything = [word for extra in extras for word in ("--extra", extra)]
    newest = ["--upgrade"] if upgrade else []
    _compile(LOCKS / "dev.txt", [*everything, "--group", f"{PYPROJECT}:dev", *newest])
    for extra in extras:
        _compile(LOCKS / f"{extra}.txt", ["--extra", extra, "--constraints", str(LOCKS / "dev.txt")])


def errors() -> list[str]:
    """Return the errors of the locks: they differ from pyproject.toml or from each other, or contain a host."""
    project = _project()
    extras: dict[str, list[str]] = project["project"]["optional-dependencies"]
    common: list[str] = project["project"]["dependencies"]
    every = [*common, *project["dependency-groups"]["dev"], *(name for extra in extras.values() for name in extra)]
    found = _errors_of("dev", every)
    for extra, dependencies in extras.items():
        found += _errors_of(extra, [*common, *dependencies])
        own, dev = _versions(LOCKS / f"{extra}.txt"), _versions(LOCKS / "dev.txt")
        found += [f"{extra}.txt: {name} is not the version of dev.txt" for name in own if own[name] != dev.get(name)]
    orphans = {path.stem for path in LOCKS.glob("*.txt")} - {"dev", "npm", "places", *extras}  # vendor.py, places.py
    return found + [f"{name}.txt belongs to no extra" for name in sorted(orphans)]


def pins(lock: Path) -> list[Pin]:
    """Return the pins of a lock. Empty when the file does not exist."""
    lines = lock.read_text(encoding="utf-8").splitlines() if lock.exists() else []
    found = [re.match(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)([^;]*;)?", line) for line in lines]
    return [Pin(_name(each[1]), each[2], always=not each[3]) for each in found if each]


def _errors_of(lock: str, dependencies: list[str]) -> list[str]:
    path = LOCKS / f"{lock}.txt"
    if not path.exists():
        return [f"{path.name} is missing"]
    versions = _versions(path)
    missing = [name for name in map(_name, dependencies) if name not in versions]
    found = [f"{path.name}: {name} is not locked" for name in missing]
    if re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host", path.read_text(encoding="utf-8")):
        found.append(f"{path.name} names a registry or a folder of the machine that wrote it")
    return found


def _versions(lock: Path) -> dict[str, set[str]]:
    """Return the pinned versions by name: several when platforms or Python versions differ."""
    versions: dict[str, set[str]] = {}
    for pin in pins(lock):
        versions.setdefault(pin.name, set()).add(pin.version)
    return versions


def _name(requirement: str) -> str:
    """Return the normalised name (PEP 503) at the start of a requirement."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0]).lower()


def _project() -> dict[str, Any]:
    return tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))


def _compile(lock: Path, arguments: list[str]) -> None:
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "pip", "compile", str(PYPROJECT), *_OPTIONS, *arguments, "--output-file", str(lock)]
    # Operators configure only pip, and uv does not read that configuration. So pass pip's folder of wheels to uv.
    folders = os.environ.get("PIP_FIND_LINKS", "").split()
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"UV_FIND_LINKS": ",".join(folders)})
