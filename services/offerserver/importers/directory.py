"""The YAML files of the operator's own sources."""

from pathlib import Path

from services.offerserver.core.importer import Importer
from services.offerserver.importers.catalog import all_importers
from services.offerserver.importers.configured import InvalidSource


def importers_of(directory: Path | None) -> dict[str, Importer]:
    """Return the importers: the named ones, and those of a directory. Raises InvalidSource."""
    if directory is None:
        return all_importers({})
    try:
        files = {path.name: path.read_text(encoding="utf-8") for path in sorted(directory.glob("*.yaml"))}
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSource(f"{directory}: {error}") from None
    return all_importers(files)
