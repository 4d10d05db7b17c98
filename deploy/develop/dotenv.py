"""The `.env` of an installation: written from `.env.template`, with its own secrets."""

import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from deploy.paths import ROOT

SECRET_MARK = "<generate>"  # noqa: S105 - a placeholder for a secret
_SECRET_BYTES = 32
_ASSIGNMENT = re.compile(r"(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)")


class GeneratedDotenv(NamedTuple):
    """The result of `generate`. It contains names of variables, never values."""

    written: bool
    added: tuple[str, ...]
    kept: tuple[str, ...]
    secrets: int = 0
    """Number of new secrets among the added variables."""


def read_dotenv(path: Path) -> dict[str, str]:
    """Return the `NAME=value` lines as a dict. Other lines are ignored, and one pair of quotes is removed."""
    return {name: _unquoted(value) for name, value in _assignments(path.read_text(encoding="utf-8"))}


def generate(
    *,
    yes: bool,
    template: Path = ROOT / ".env.template",
    target: Path = ROOT / ".env",
    ask: Callable[[str], str] | None = None,
) -> GeneratedDotenv:
    """Write `.env` from its template, readable by its owner only.

    If `.env` exists and `yes` is set, keep its values and append missing variables. Without `yes`, ask the operator
    whether to replace the file. "no" appends missing variables. A replaced file is kept as `.env.old`. No secret is
    lost or printed.
    """
    wanted = template.read_text(encoding="utf-8")
    if not target.exists():
        _write(target, _with_secrets(wanted))
        return _result(list(_assignments(wanted)))
    present = target.read_text(encoding="utf-8")
    if not yes and _agrees(
        (ask or _ask)(f"{target.name} exists. Replace it with the template and new secrets? [y/N] ")
    ):
        _write(target.with_name(target.name + ".old"), present)
        _write(target, _with_secrets(wanted))
        return _result(list(_assignments(wanted)))
    kept = tuple(name for name, _ in _assignments(present))
    missing = [(name, value) for name, value in _assignments(wanted) if name not in kept]
    if missing:
        ending = "" if present.endswith("\n") or not present else "\n"
        lines = "".join(_with_secrets(f"{name}={value}\n") for name, value in missing)
        _write(target, present + ending + lines)
    return _result(missing, kept=kept)


def _result(added: list[tuple[str, str]], *, kept: tuple[str, ...] = ()) -> GeneratedDotenv:
    secret = sum(SECRET_MARK in value for _, value in added)
    return GeneratedDotenv(written=bool(added), added=tuple(name for name, _ in added), kept=kept, secrets=secret)


def report(result: GeneratedDotenv, target: str = ".env") -> str:
    """Return the result as one line."""
    if not result.kept:
        return f"{target} written: {len(result.added)} variables, {result.secrets} of them new secrets."
    if not result.added:
        return f"{target} unchanged: it has all {len(result.kept)} variables."
    return f"{target} kept ({len(result.kept)} variables); added {', '.join(result.added)}."


def generate_and_report(*, yes: bool) -> None:
    """Generate `.env` of this clone and print the result."""
    print(report(generate(yes=yes)))


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        found = _ASSIGNMENT.fullmatch(line.strip().removeprefix("export "))
        if found:
            yield found["name"], found["value"].strip()


def _unquoted(value: str) -> str:
    quoted = re.fullmatch(r"(['\"])(.*)\1", value)
    return quoted[2] if quoted else value


def _with_secrets(text: str) -> str:
    """Replace each placeholder with a new secret."""
    lines = text.splitlines(keepends=True)
    return "".join(_filled(line) if _ASSIGNMENT.match(line) else line for line in lines)


def _filled(line: str) -> str:
    while SECRET_MARK in line:
        line = line.replace(SECRET_MARK, generated_secret(), 1)
    return line


def generated_secret() -> str:
    """Return a new random secret: base64url of 32 bytes, so it also is a private key of Web Push."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def _ask(question: str) -> str:
    """Ask on the terminal. Without a terminal the reply is empty."""
    try:
        return input(question)
    except EOFError:
        return ""


def _agrees(reply: str) -> bool:
    return reply.strip().lower() in ("y", "yes")


def _write(path: Path, text: str) -> None:
    """Replace the file atomically, so that an interruption leaves the old file. The new file has mode 600."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
