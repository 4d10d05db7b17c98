"""The lookups of kafkastore: location of an address, device of a user agent. Neither lookup ever raises."""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Self

import maxminddb
import ua_parser
from user_agents.parsers import UserAgent, parse_browser, parse_device, parse_operating_system

from services.backbone.events import UNKNOWN_LOCATION, Device, Location
from services.backbone.logs import get_logger
from services.kafkastore.core.addresses import parse_address
from services.kafkastore.core.devices import Agent, describe_device

log = get_logger(__name__)

_PLACES_KEPT = 65_536  # about 100 bytes each; each visitor sends several events
_DEVICES_KEPT = 16_384  # at most a kilobyte each; there are few different browsers
_LONGEST_AGENT = 1024  # real ones are under 500 bytes; bounds time and cache
_PROBE = "8.8.8.8"

_UNKNOWN = Location()


class _FileState(NamedTuple):
    """Identifies a version of the file at a path."""

    inode: int
    modified_ns: int
    size: int


class _Database:
    """The city database at one path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reader: maxminddb.Reader | None = None
        self.fault = "not loaded yet"
        self._seen: _FileState | None = None

    def look(self) -> maxminddb.Reader | None:
        """Open the file at the path if it has changed since the last check. Return None without a change.

        A missing file leaves the open database in use. It may run in a thread, because it changes no reader.
        """
        try:
            state = _state(self.path)
            if state == self._seen:
                return None
            self._seen = state
            reader = _open(self.path)
            if _state(self.path) != state:
                # The file changed while it was read. The next check opens it again.
                self._seen = None
                reader.close()
                return None
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            # The reader raises ValueError for some malformed metadata.
            fault = f"{type(error).__name__}: {error}" if not isinstance(error, FileNotFoundError) else "no such file"
            if fault != self.fault:
                log.warning("city_database_refused", path=str(self.path), reason=fault, kept=self.reader is not None)
            self.fault = fault
            return None
        self.fault = ""
        return reader


class LocationLookup:
    """Looks up locations in city databases of MaxMind's format. The first database with the address is used.

    Use it as a context manager. Use it in one thread only, such as the event loop. Both layouts of records are read:
    MaxMind's (`country.iso_code`, `city.names.en`) and the flat one of DB-IP's npm package (`country_code`, `city`).
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._databases = [_Database(path) for path in paths]
        self.locate = lru_cache(_PLACES_KEPT)(self._find)

    def __enter__(self) -> Self:
        """Open the available databases."""
        for database in self._databases:
            self._use(database, database.look())
        return self

    def __exit__(self, *_: object) -> None:
        for database in self._databases:
            if database.reader is not None:
                database.reader.close()
                database.reader = None
        self.locate.cache_clear()

    async def refresh(self) -> None:
        """Open databases with a new file. Keep the old one if the new file can't be opened."""
        for database in self._databases:
            self._use(database, await asyncio.to_thread(database.look))

    @property
    def named(self) -> int:
        """Number of databases in the settings."""
        return len(self._databases)

    @property
    def loaded(self) -> bool:
        """Whether any database is open."""
        return any(database.reader is not None for database in self._databases)

    def describe(self) -> str:
        """Return a sentence about open and missing databases."""
        if not self._databases:
            return "no city database (GEOIP_DATABASE is not set): every location is XX"
        return "; ".join(_describe(database) for database in self._databases)

    def _use(self, database: _Database, reader: maxminddb.Reader | None) -> None:
        if reader is None:
            return
        old, database.reader = database.reader, reader
        self.locate.cache_clear()
        if old is not None:
            old.close()
        log.info("city_database_opened", path=str(database.path), type=reader.metadata().database_type)

    def _find(self, text: str) -> Location:
        address = parse_address(text)
        if address is None:
            return _UNKNOWN
        for database in self._databases:
            if database.reader is None:
                continue
            try:
                record = database.reader.get(address)
            except (ValueError, maxminddb.InvalidDatabaseError):
                continue  # an IPv6 address in an IPv4 database, or a damaged part of the file
            location = _location(record)
            if location is not None:
                return location
        return _UNKNOWN


class DeviceLookup:
    """Looks up devices by user agent."""

    def __init__(self) -> None:
        self._classify = lru_cache(_DEVICES_KEPT)(_classify)

    def classify(self, user_agent: bytes) -> Device:
        """Return the device of a user agent. Bytes that are not UTF-8 become U+FFFD."""
        return self._classify(user_agent[:_LONGEST_AGENT])

    def warm_up(self) -> None:
        """Load the rules of the library now. That takes a third of a second, which would delay a batch."""
        _classify(b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")


def _state(path: Path) -> _FileState:
    stat = path.stat()
    return _FileState(stat.st_ino, stat.st_mtime_ns, stat.st_size)


def _open(path: Path) -> maxminddb.Reader:
    """Open a private, unnamed copy of a database.

    The reader maps its file into memory. If another program overwrites or truncates that file, the reader gets wrong
    data, or a missing page kills the process (SIGBUS).
    """
    with tempfile.TemporaryDirectory(prefix="push-geoip-") as folder:
        copy = Path(folder) / path.name
        shutil.copyfile(path, copy)
        reader = maxminddb.open_database(os.fspath(copy), maxminddb.MODE_AUTO)
    try:
        reader.get(_PROBE)
    except ValueError:  # an IPv6 database may raise this
        pass
    except BaseException:
        reader.close()
        raise
    return reader


def _describe(database: _Database) -> str:
    if database.reader is None:
        return f"{database.path.name}: {database.fault}, its places are XX"
    kept = f" (the new file is not used: {database.fault})" if database.fault else ""
    return f"{database.path.name}: {database.reader.metadata().database_type}{kept}"


def _location(record: Any) -> Location | None:
    """Read a record of either layout. Return None without a country."""
    if not isinstance(record, dict):
        return None
    country, city = record.get("country"), record.get("city")
    if isinstance(country, dict):
        country = country.get("iso_code")
    elif not isinstance(country, str):
        country = record.get("country_code")
    if isinstance(city, dict):
        names = city.get("names")
        city = names.get("en") if isinstance(names, dict) else None
    if not isinstance(country, str) or not country:
        return None
    # All locations of a city share one text. This saves a third of the memory of cached locations.
    return Location(sys.intern(country), sys.intern(city) if isinstance(city, str) and city else UNKNOWN_LOCATION)


def _classify(user_agent: bytes) -> Device:
    text = user_agent.decode("utf-8", "replace").strip()
    if not text or text == "-":
        return Device()
    return describe_device(text, _read_agent(text))


class _FoundAgent(UserAgent):  # type: ignore[misc]  # the library has no types
    """A user agent classified by the library, parsed by the native matcher.

    The library's constructor uses a part of ua-parser with Python's regular expressions and without a cache: 1.4 ms per
    user agent instead of 0.1 ms.
    """

    def __init__(self, text: str) -> None:
        found = ua_parser.parse(text)
        browser, system, device = found.user_agent, found.os, found.device
        self.ua_string = text
        self.browser = (
            parse_browser(browser.family, browser.major, browser.minor, browser.patch)
            if browser
            else parse_browser("Other")
        )
        self.os = (
            parse_operating_system(system.family, system.major, system.minor, system.patch)
            if system
            else parse_operating_system("Other")
        )
        self.device = (
            parse_device(device.family, device.brand, device.model) if device else parse_device("Other", None, None)
        )


def _read_agent(text: str) -> Agent:
    try:
        found = _FoundAgent(text)
        return Agent(
            browser=_known(found.browser.family),
            browser_version=found.browser.version_string,
            platform=_known(found.os.family),
            platform_version=found.os.version_string,
            device_name=_known(found.device.family),
            is_bot=found.is_bot,
            is_tablet=found.is_tablet,
            is_phone=found.is_mobile,
            is_desktop=found.is_pc,
        )
    except (ValueError, TypeError, AttributeError) as error:
        # The library converts matched text to numbers. Only a manipulated user agent makes this fail.
        log.debug("user_agent_unreadable", error=type(error).__name__)
        return Agent()


def _known(family: str | None) -> str:
    return "" if family is None or family == "Other" else family
