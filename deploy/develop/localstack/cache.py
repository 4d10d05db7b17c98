"""Folders that are downloaded once and shared by all clones."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("die_with_parent.py")


def cache_folder() -> Path:
    """Return the folder for downloads: $PUSH_CACHE, else ~/.cache/push."""
    return Path(os.environ.get("PUSH_CACHE") or Path.home() / ".cache" / "push")


def digest(file: Path) -> str:
    """Return the first twelve digits of the SHA-256 of a file.

    A folder with these digits in its name never mixes two versions.
    """
    return hashlib.sha256(file.read_bytes()).hexdigest()[:12]


def ensure(folder: Path, fetch: Callable[[Path], None]) -> Path:
    """Return the folder; call `fetch` with an empty path if the folder is missing.

    The folder appears by a rename when it is complete, so an interrupted fetch never leaves a folder with this name.
    Concurrent processes wait for each other.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name.partition('-')[0]}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            partial = folder.with_name(folder.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)
            fetch(partial)
            partial.rename(folder)
    return folder


def run_bound(command: list[str], *, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a command that is killed when this process ends. Raise subprocess.TimeoutExpired when it takes too long."""
    launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid())]
    return subprocess.run(
        [*launcher, *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
    )
