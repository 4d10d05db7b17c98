"""The files of npm packages that are part of the pages: fetched by a developer, committed, and held to a lock.

`deploy/locks/npm.txt` has a row for each package: name, version, integrity of its archive, licence, directory, and the
files taken, each with its SHA-256. Neither the build nor a service needs Node.
"""

import base64
import hashlib
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from deploy.errors import OperatorError
from deploy.paths import ROOT

LOCK: Final = ROOT / "deploy" / "locks" / "npm.txt"
_TIMEOUT_S: Final = 120.0  # Leaflet has 0.9 MB
_FIELDS: Final = 6


class VendorError(OperatorError):
    """A package can't be fetched, or differs from the lock. The message contains the reason."""


class VendoredFile(NamedTuple):
    """A file of a package."""

    source: str
    """The path in the package: dist/leaflet.css."""
    sha256: str

    @property
    def name(self) -> str:
        """The name of the committed file."""
        return self.source.rpartition("/")[2]


class VendoredPackage(NamedTuple):
    """A row of the lock."""

    name: str
    version: str
    integrity: str
    """The digest of the archive, as npm writes it: sha512-<base64>."""
    licence: str
    folder: str
    """The directory of the committed files, relative to the repository."""
    files: tuple[VendoredFile, ...]


def read_lock(lock: Path = LOCK) -> list[VendoredPackage]:
    """Return the packages of the lock. Raises VendorError for a malformed row."""
    rows = [line.split() for line in lock.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return [_package(row, lock) for row in rows]


def fetch_packages(*, lock: Path = LOCK, root: Path = ROOT, report: Callable[[str], None] = print) -> None:
    """Write the files of every package in the lock, byte for byte, and remove all other files of its directory.

    Every archive and file is checked against the lock before a directory changes. Needs npm, which takes the registry
    from its own configuration. Raises VendorError.
    """
    for package in read_lock(lock):
        with tempfile.TemporaryDirectory(prefix="push-vendor-") as scratch:
            archive = _pack(package, Path(scratch))
            _check_integrity(package, archive)
            contents = _contents(package, archive)
        folder = root / package.folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        report(f"{package.name} {package.version}: {len(contents)} files in {package.folder}")


def vendoring_errors(*, lock: Path = LOCK, root: Path = ROOT) -> list[str]:
    """Return the differences between the committed files and the lock. Needs no network."""
    return [error for package in read_lock(lock) for error in _differences(package, root)]


def _differences(package: VendoredPackage, root: Path) -> Iterator[str]:
    folder = root / package.folder
    present = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    for file in package.files:
        if file.name not in present:
            yield f"{package.folder}/{file.name} is missing"
        elif hashlib.sha256((folder / file.name).read_bytes()).hexdigest() != file.sha256:
            yield f"{package.folder}/{file.name} differs from the lock"
    for name in sorted(present - {file.name for file in package.files}):
        yield f"{package.folder}/{name} is not in the lock"


def _package(row: list[str], lock: Path) -> VendoredPackage:
    if len(row) < _FIELDS:
        raise VendorError(
            f"{lock}: a row has {len(row)} fields. It needs name, version, integrity, licence, folder, files"
        )
    name, version, integrity, licence, folder, *files = row
    pairs = [re.fullmatch(r"([A-Za-z0-9._/-]+)=sha256:([0-9a-f]{64})", file) for file in files]
    malformed = [file for file, pair in zip(files, pairs, strict=True) if pair is None]
    if malformed or not integrity.startswith("sha512-"):
        raise VendorError(f"{lock}: {name}: malformed {' '.join(malformed) or integrity}")
    return VendoredPackage(
        name, version, integrity, licence, folder, tuple(VendoredFile(pair[1], pair[2]) for pair in pairs if pair)
    )


def _pack(package: VendoredPackage, scratch: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise VendorError("npm is not installed. It downloads the packages. Install Node.js, and run the task again")
    command = [npm, "pack", f"{package.name}@{package.version}", "--silent", "--pack-destination", str(scratch)]
    try:
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise VendorError(f"npm pack {package.name} took longer than {_TIMEOUT_S:.0f} s") from None
    archives = list(scratch.glob("*.tgz"))
    if done.returncode != 0 or len(archives) != 1:
        reason = (done.stderr.strip() or done.stdout.strip() or "no error message").splitlines()[-1]
        raise VendorError(f"npm pack {package.name} failed: {reason}")
    return archives[0]


def _check_integrity(package: VendoredPackage, archive: Path) -> None:
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if f"sha512-{digest}" != package.integrity:
        raise VendorError(
            f"{package.name} {package.version}: the archive has the integrity sha512-{digest}, and the lock has "
            f"{package.integrity}. Do not use it"
        )


def _contents(package: VendoredPackage, archive: Path) -> dict[str, bytes]:
    """Return the files of a package by name: only contents, never a path or a mode of the archive."""
    contents = {}
    with tarfile.open(archive) as packed:
        members = {member.name: member for member in packed if member.isfile()}
        for file in package.files:
            member = members.get(f"package/{file.source}")
            content = packed.extractfile(member) if member else None
            if content is None:
                raise VendorError(f"{package.name} {package.version} does not contain {file.source}")
            contents[file.name] = content.read()
            if hashlib.sha256(contents[file.name]).hexdigest() != file.sha256:
                raise VendorError(f"{package.name} {package.version}: {file.source} differs from the lock")
    return contents
