"""Scenes of files while the server runs."""

import contextlib
import errno
import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from services.imageserver.store.volume import Volume
from tests.nfs.client import digest, mount, report, store
from tests.nfs.machine import DEFAULT, OURS

SIZES = (10, 20_000, 200_000, 20_000_000)


def equal_bytes() -> None:
    """Write files of several sizes through one mount and read them through the other."""
    first, second = mount("first"), mount("second")
    report("options", [line.split()[3] for line in Path("/proc/mounts").read_text().splitlines() if " nfs4 " in line])
    for size in SIZES:
        data = os.urandom(size)
        path, sent = store(Volume(first), data)
        found = (second / path).read_bytes()
        report("file", {"size": len(found), "equal": digest(found) == sent, "owner": (second / path).stat().st_uid})


def refused_mount() -> None:
    """Mount an export that is not for this client."""
    try:
        mount("first")
    except subprocess.CalledProcessError as error:
        report("exit code", error.returncode)
    else:
        report("exit code", 0)


def operations() -> None:
    """Do what imageserver and operators do with files, as root and as another user. Report the errors."""
    first, second = mount("first"), mount("second")
    results: dict[str, str] = {}

    @contextlib.contextmanager
    def step(name: str) -> Iterator[None]:
        results[name] = "done"
        try:
            yield
        except OSError as error:
            results[name] = str(error)

    for user in (0, 4_711):
        os.seteuid(user)
        place = first / f"of-{user}"
        with step(f"directory {user}"):
            place.mkdir()
        with step(f"plain write {user}"):
            (place / "file").write_bytes(b"plain")
        with step(f"append {user}"), (place / "file").open("ab") as end:
            end.write(b" and more")
        with step(f"hard link {user}"):
            (place / "link").hardlink_to(place / "file")
        with step(f"mode {user}"):
            (place / "file").chmod(0o600)
        with step(f"rename {user}"):
            (place / "link").rename(place / "renamed")
        with step(f"truncate {user}"):
            os.truncate(place / "file", 5)
        with step(f"times {user}"):
            os.utime(place / "file")
        with step(f"lock {user}"), (place / "file").open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            results[f"other's lock {user}"] = _lock_error(second / place.name / "file")
        with step(f"remove {user}"):
            (place / "renamed").unlink()
        os.seteuid(0)
    report("operations", results)


def _lock_error(path: Path) -> str:
    """Return the error of another process that locks a file."""
    if child := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return errno.errorcode.get(code, str(code))
    try:
        with path.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os._exit(0)
    except OSError as error:
        os._exit(error.errno or 255)


def visibility() -> None:
    """Store through one mount and read through the other at once, with the default options and with ours."""
    for number, options in enumerate((DEFAULT, OURS)):
        stores, serves = Volume(mount(f"stores-{number}", options)), Volume(mount(f"serves-{number}", options))
        files, unseen = 1_000, 0
        for extra in range(files):
            data = os.urandom(1_000 + extra)
            path, sent = store(stores, data)
            try:
                unseen += digest(serves.read(path, 0, len(data), size=len(data))) != sent
            except Exception as error:  # noqa: BLE001 - whatever a reader would get
                unseen += 1
                report("error", repr(error))
        report("unseen", {"options": options, "of": files, "unseen": unseen})


def early_lookups() -> None:
    """Look up names before their files exist, then write them through another mount. Report which are still missing."""
    for options in (DEFAULT, OURS):
        place = mount(f"stores-{options}", options), mount(f"serves-{options}", options)
        missing = 0
        for number in range(20):
            name = f"early-{options}-{number}"
            assert not (place[1] / name).exists()
            (place[0] / name).write_bytes(b"here")
            missing += not (place[1] / name).exists()
        report("missing", {"options": options, "missing": missing})
