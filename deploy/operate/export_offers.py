"""The task offers.export: the offers of an owner and their pictures in one zip file."""

import contextlib
import datetime as dt
import os
import re
import sys
import tempfile
import zipfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final, cast

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deploy.errors import OperatorError
from deploy.operate.offers import run_or_refuse
from deploy.operate.variables import read
from services.offerserver.handlers.clients import open_images, open_storage
from services.offerserver.settings import Settings

_PICTURE: Final = re.compile(r"/assets/images/([0-9a-fA-F]{64}|[0-9]{1,18})", re.ASCII)
"""Phones choose the paths of their offers, so anything else is possible."""
_PNG: Final = b"\x89PNG"


class _Pictured(msgspec.Struct):
    images: tuple[str | None, ...] = ()


class _Export(msgspec.Struct):
    """The file `offers.json`."""

    owner: str
    exported: dt.datetime
    offers: Sequence[msgspec.Raw]
    """As storage returns them to a service."""
    pictures: Mapping[str, str]
    """The path in `images` -> the file in the zip."""
    missing_pictures: Sequence[str]
    """Paths in `images` without a picture in the imageserver."""


def file_name(owner: str) -> str:
    """Return the name of the file of an owner, in letters, digits, points, dashes and underscores."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', owner).lstrip('.-') or 'offers'}.zip"


def export(environ: Mapping[str, str], owner: str, file: Path | None, *, dry_run: bool) -> int:
    """Count the offers and pictures of an owner, and write them to a zip file. Return the exit code.

    `file` is None for stdout. A file has its name only when it is complete. Raises OperatorError, and leaves no file
    then. It needs storage, and the imageserver if the offers have pictures.
    """
    if not owner:
        raise OperatorError("--owner is missing: offers.export --owner OWNER")
    if file is None and not dry_run and sys.stdout.isatty():
        raise OperatorError("--file - writes the zip to stdout, which is a terminal: redirect it to a file")
    if file is not None and file.exists() and not dry_run:
        raise OperatorError(f"{file}: exists already. Choose another --file, or remove it.")
    settings = read(Settings, environ)
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    offers = run_or_refuse(_offers(settings, owner))
    paths = list(dict.fromkeys(path for offer in offers for path in _images(offer)))
    console.print(f"{owner} has {len(offers):,} offers with {len(paths):,} pictures")
    if dry_run:
        return 0
    if not offers:
        raise OperatorError(
            f"{owner} has no offers, so no file was written. offers.list shows the owners of importers."
        )
    if paths and settings.imageserver_url is None:
        raise OperatorError("OFFERS_IMAGESERVER_URL is not set: without it the pictures can't be read")
    with _archive(file) as archive:
        missing = run_or_refuse(_write(settings, archive, console, owner=owner, offers=offers, paths=paths))
    for path in missing:
        console.print(f"{path}: the imageserver has no such picture", style="yellow")
    console.print(f"wrote {file or 'stdout'}: {len(offers):,} offers, {len(paths) - len(missing):,} pictures")
    return 0


async def _offers(settings: Settings, owner: str) -> list[msgspec.Raw]:
    async with open_storage(settings) as storage:
        return await storage.offer_documents(owner)


async def _write(  # noqa: PLR0913 - what is written, and where
    settings: Settings,
    archive: zipfile.ZipFile,
    console: Console,
    *,
    owner: str,
    offers: Sequence[msgspec.Raw],
    paths: Sequence[str],
) -> list[str]:
    """Write pictures and then `offers.json`. Return the paths that have no picture."""
    written: dict[str, str] = {}
    bars = (TextColumn("pictures"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*bars, console=console, disable=not paths) as progress:
        task = progress.add_task("", total=len(paths))
        async for path, content in _pictures(settings, paths):
            if content is not None:
                written[path] = f"pictures/{path.rpartition('/')[2]}.{'png' if content.startswith(_PNG) else 'jpg'}"
                archive.writestr(written[path], content)
            progress.advance(task)
    missing = [path for path in paths if path not in written]
    made = _Export(owner, dt.datetime.now(dt.UTC), offers, written, missing)
    archive.writestr("offers.json", msgspec.json.encode(made), zipfile.ZIP_DEFLATED)
    return missing


async def _pictures(settings: Settings, paths: Sequence[str]) -> AsyncIterator[tuple[str, bytes | None]]:
    """Yield each picture, or None if there is none. Raises ServiceUnavailable or RequestRefused."""
    if not paths:
        return
    async with open_images(settings) as images:
        for path in paths:
            found = _PICTURE.fullmatch(path)
            yield path, None if found is None else await images.read(found[1])


class _Pipe:
    """A stream that can be closed without the end of a zip file. A zip file without its end can't be opened."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.is_open = True

    def write(self, content: bytes) -> int:
        if self.is_open:
            self._stream.write(content)
        return len(content)

    def flush(self) -> None:
        if self.is_open:
            self._stream.flush()


@contextlib.contextmanager
def _archive(file: Path | None) -> Iterator[zipfile.ZipFile]:
    """Yield a zip file that gets its name after the block. After an error it is removed, and stdout has no end."""
    if file is None:
        pipe = _Pipe(sys.stdout.buffer)
        with zipfile.ZipFile(cast("IO[bytes]", pipe), "w") as archive:
            try:
                yield archive
            except BaseException:
                pipe.is_open = False
                raise
        return
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as stream:
        part = Path(stream.name)
        try:
            with zipfile.ZipFile(stream, "w") as archive:
                yield archive
            stream.flush()
            os.fsync(stream.fileno())
            part.replace(file)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def _images(offer: msgspec.Raw) -> list[str]:
    return [path for path in msgspec.json.decode(offer, type=_Pictured).images if path]
