"""All importers: the named ones, and those of the operator's YAML files."""

import functools
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from services.backbone.schedule import JobPlan
from services.offerserver.core.importer import Importer, OfferSource
from services.offerserver.importers.berlin_markets import BERLIN_MARKETS
from services.offerserver.importers.configured import InvalidSource, read_source
from services.offerserver.importers.dbpedia import DBPEDIA
from services.offerserver.importers.nature_spots import NATURE_SPOTS
from services.offerserver.importers.sensor_community import SENSOR_COMMUNITY

NAMED: Final = (BERLIN_MARKETS, DBPEDIA, NATURE_SPOTS, SENSOR_COMMUNITY)
_CRON_FIELDS: Final = 5


def all_importers(files: Mapping[str, str], named: Iterable[Importer] = NAMED) -> dict[str, Importer]:
    """Return the importers by name. `files` are the YAML files: name of the file -> text.

    Raises InvalidSource with the errors of all files. Two importers must not share a name or an owner: each would
    remove the offers of the other.
    """
    importers = {importer.source.name: importer for importer in named}
    owners = {importer.source.owner: name for name, importer in importers.items()}
    origins = dict.fromkeys(importers, "a built-in importer")
    errors = []
    for file, text in sorted(files.items()):
        try:
            importer = read_source(text)
            plan_of(importer.source)
        except ValueError as error:
            errors += [f"{file}: {line}" for line in str(error).splitlines()]
            continue
        source = importer.source
        if source.name in importers:
            errors.append(f"{file}: name: another importer is named {source.name}: {origins[source.name]}")
        elif source.owner in owners:
            other = owners[source.owner]
            errors.append(f"{file}: owner: {source.owner} is the owner of {other}: {origins[other]}")
        importers[source.name] = importer
        owners[source.owner] = source.name
        origins[source.name] = file
    if errors:
        raise InvalidSource("\n".join(errors))
    texts = {origin: files.get(origin, "") for origin in origins.values()}
    return {name: replace(importer, version=_version_of(texts[origins[name]])) for name, importer in importers.items()}


def _version_of(text: str) -> str:
    """Return what differs when the YAML file of a source differs, or the code that reads feeds."""
    return hashlib.sha256(f"{_code_digest()}{text}".encode()).hexdigest()


@functools.cache
def _code_digest() -> str:
    parsers = Path(__file__).parent
    files = sorted([*parsers.glob("*.py"), *(parsers.parent / "core").glob("*.py")])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def source_alone(file: str, text: str) -> Importer:
    """Return the importer of one file, with the checks of the start. Raises InvalidSource."""
    return [*all_importers({file: text}).values()][-1]


def plan_of(source: OfferSource) -> JobPlan:
    """Return the plan of an importer. Raises ValueError for an invalid crontab.

    It begins at a second of its own, so that importers of one minute do not begin at once.
    """
    if len(source.schedule.split()) != _CRON_FIELDS:
        raise ValueError(
            f"the schedule {source.schedule!r} must have five fields: minute, hour, day, month, day of week"
        )
    second = hashlib.sha256(source.name.encode()).digest()[0] % 60
    try:
        return JobPlan(source.name, f"{second} {source.schedule}", source.purpose)
    except ValueError as error:
        reason = str(error).rpartition(": ")[2]
        raise ValueError(f"the schedule {source.schedule!r} is no crontab: {reason}") from None
