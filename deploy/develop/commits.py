"""Check the subjects of commits: at most 72 characters and one change, so no semicolon."""

import shutil
import subprocess
from pathlib import Path

from deploy.paths import ROOT

# The rule applies to the commits after this one.
BASE = "433cf56b1d8acdc79d63cd0a56051f239040cc17"
_LONGEST = 72


def errors(root: Path = ROOT, base: str = BASE) -> list[str] | None:
    """Return an error for each invalid subject among the commits after `base`; None where `base` is not available.

    Merge commits are not checked. A shallow clone or a copy without its history has no `base`.
    """
    if shutil.which("git") is None or _git(root, "cat-file", "-e", f"{base}^{{commit}}") is None:
        return None
    log = _git(root, "log", "--no-merges", "--format=%h %s", f"{base}..HEAD") or ""
    return [error for line in log.splitlines() if (error := _error(*line.split(" ", 1)))]


def _error(commit: str, subject: str) -> str:
    if len(subject) > _LONGEST:
        return f'{commit} "{subject}": {len(subject)} characters. A subject has at most {_LONGEST}.'
    if ";" in subject:
        return f'{commit} "{subject}": contains ";". A commit is one change: split it, or move the reason to the body.'
    return ""


def _git(root: Path, *arguments: str) -> str | None:
    """Return the output of git, or None if it fails."""
    done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None
