"""Find the addresses of the running system, for `send`, `status` and other tasks."""

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from deploy.develop.dotenv import read_dotenv
from deploy.errors import OperatorError
from deploy.paths import ROOT

_VARIABLES = {
    *("REDIS_URL", "KAFKASTORE_REDIS_URLS", "COUNTERS_REDIS_URL", "ACTIONS_REDIS_URL"),
    *("KAFKA_BOOTSTRAP_SERVERS", "TRACKER_PORT"),
}
_ANNOUNCEMENTS = ROOT / ".cache" / "running"

DOES_IT_RUN = (
    "Does it run? `demo` starts a system here. For another system set REDIS_URL, COUNTERS_REDIS_URL and\n"
    "KAFKA_BOOTSTRAP_SERVERS in the environment or in .env."
)
"""The hint for a server that does not respond."""


class Endpoints(NamedTuple):
    """The addresses of the parts of one running system."""

    tracker_url: str
    queue_urls: tuple[str, ...]
    """The Redis servers of the queue."""
    counters_url: str
    """The Redis server of the counters."""
    bootstrap_servers: str
    storage_internal_url: str = ""
    """The internal port of a process of storage. Empty: not known, or the system runs without storage."""
    actions_url: str = ""
    """The Redis server of the actions."""


@contextlib.contextmanager
def announce(endpoints: Endpoints, *, folder: Path = _ANNOUNCEMENTS) -> Iterator[None]:
    """Write the addresses of this system to a file for other terminals, and delete the file after the block."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{time.time_ns()}.json"
    file.write_text(json.dumps({"pid": os.getpid(), "endpoints": endpoints}))
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def environment(environ: Mapping[str, str], *, dotenv: Path = ROOT / ".env") -> dict[str, str]:
    """Return the variables of `.env`, if it exists, overridden by those of the shell. Empty variables are left out."""
    try:
        written = read_dotenv(dotenv) if dotenv.exists() else {}
    except UnicodeDecodeError:
        raise OperatorError(f"{dotenv}: not UTF-8 text. Write it again in UTF-8.") from None
    return {name: value for name, value in {**written, **environ}.items() if value}


def find(environ: Mapping[str, str], *, folder: Path = _ANNOUNCEMENTS, dotenv: Path = ROOT / ".env") -> Endpoints:
    """Return the endpoints from the shell, else of a running demo, else from `.env`, else the defaults.

    Raises OperatorError with the name of each invalid variable.
    """
    demo = None if _VARIABLES & environ.keys() else _latest_announced(folder)
    if demo is not None:
        return demo
    # Imported here: it takes 0.3 s, and most commands do not need it.
    from deploy.operate.variables import SystemVariables, read  # noqa: PLC0415

    variables = read(SystemVariables, environment(environ, dotenv=dotenv))
    return Endpoints(
        tracker_url=f"http://127.0.0.1:{variables.tracker_port}",
        queue_urls=tuple(url.get_secret_value() for url in variables.redis_urls or (variables.redis_url,)),
        counters_url=variables.counters_url.get_secret_value(),
        bootstrap_servers=variables.bootstrap_servers,
        actions_url=variables.actions_url.get_secret_value(),
    )


def without_password(url: str) -> str:
    """Return a URL without its password, for output."""
    return re.sub(r"//[^@/]*@", "//", url)


def _latest_announced(folder: Path) -> Endpoints | None:
    """Return the endpoints of the newest running system. Delete the files of systems that were killed."""
    for file in sorted(folder.glob("*.json"), reverse=True):
        try:
            announced = json.loads(file.read_text())
            os.kill(announced["pid"], 0)
            tracker_url, queue_urls, *others = announced["endpoints"]
            found = Endpoints(tracker_url, tuple(queue_urls), *others)
        except (OSError, ValueError, KeyError, TypeError):
            file.unlink(missing_ok=True)
        else:
            return found
    return None
