"""The YAML files of the operator's own sources."""

from pathlib import Path
from typing import Final

from services.offerserver.core.importer import Importer
from services.offerserver.importers.catalog import all_importers
from services.offerserver.importers.configured import InvalidSource

_SUFFIXES: Final = (".yaml", ".yml")


def importers_of(directory: Path | None) -> dict[str, Importer]:
    """Return the importers: the named ones, and those of a directory. Raises InvalidSource."""
    if directory is None:
        return all_importers({})
    if not directory.is_dir():
        raise InvalidSource(f"{directory} is no directory")
    try:
        found = [path for path in _files(directory) if path.suffix in _SUFFIXES]
        return all_importers({path.name: source_text(path) for path in found})
    except OSError as error:
        raise InvalidSource(f"{error.filename}: {error.strerror}") from None


def ignored_files(directory: Path | None) -> list[str]:
    """Return the names of files of the directory that are no sources, because of how they end. Raises OSError."""
    return [] if directory is None else [path.name for path in _files(directory) if path.suffix not in _SUFFIXES]


def _files(directory: Path) -> list[Path]:
    # Kubernetes keeps the versions of a mounted ConfigMap in hidden names.
    return [path for path in sorted(directory.iterdir()) if path.is_file() and not path.name.startswith(".")]


def source_text(file: Path) -> str:
    """Return the text of a file. Raises InvalidSource if it is not UTF-8, and OSError."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InvalidSource(f"{file.name}: this is not UTF-8: save the file as UTF-8") from None
