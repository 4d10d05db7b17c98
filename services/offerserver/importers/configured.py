"""SourceConfig: a source as a YAML file, for which no code is needed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final, Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from services.backbone.outgoing.client import OutgoingRefused, check_url
from services.offerserver.core.drafts import AreaBox, Parsed, merged
from services.offerserver.core.grades import Thresholds
from services.offerserver.core.importer import (
    DocumentKind,
    FeedDocument,
    FeedRequest,
    ImportArea,
    Importer,
    OfferSource,
)
from services.offerserver.core.values import collect
from services.offerserver.importers.calendars import PARSE_AGAIN_S, CalendarRows
from services.offerserver.importers.geojson import GeoJsonRows
from services.offerserver.importers.mapping import FieldMapping, RowMapper, listed
from services.offerserver.importers.missing_fields import MissingFields
from services.offerserver.importers.overpass import OverpassRows
from services.offerserver.importers.rows import FeedRow, FeedRows
from services.offerserver.importers.source_text import parsed_yaml, problems
from services.offerserver.importers.structured_data import StructuredRows
from services.offerserver.importers.syndication import SyndicationRows
from services.offerserver.importers.tables import TableRows

FeedForm = Literal["geojson", "overpass", "calendar", "syndication", "table", "structured_data"]
_KINDS: Final[Mapping[FeedForm, DocumentKind]] = {
    "geojson": "json",
    "overpass": "json",
    "calendar": "calendar",
    "syndication": "xml",
    "table": "csv",
    "structured_data": "page",
}
_HOUR_MS: Final = 3_600_000
_MOST_URLS: Final = 20
_ONE_FORM: Final[Mapping[str, FeedForm]] = {"delimiter": "table", "lead_hours": "calendar"}
"""Keys that other forms would ignore."""


class InvalidSource(ValueError):
    """The YAML file of a source is invalid. The message has a line for each error."""


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError("must be a time zone such as Europe/Berlin") from None
    return name


def _address(url: str) -> str:
    try:
        check_url(url)
    except OutgoingRefused as error:
        raise ValueError(str(error)) from None
    return url


def _delimiter(character: str) -> str:
    if character in ('"', "\r", "\n"):
        raise ValueError("must be no quotation mark and no line break")
    return character


class BoxConfig(BaseModel):
    """The area of a source, in degrees."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    south: float = Field(ge=-90, le=90)
    west: float = Field(ge=-180, le=180)
    north: float = Field(ge=-90, le=90)
    east: float = Field(ge=-180, le=180)

    @model_validator(mode="after")
    def _check_order(self) -> "BoxConfig":
        if self.south >= self.north or self.west >= self.east:
            raise ValueError("south must be less than north, and west less than east")
        return self


class SourceConfig(BaseModel):
    """The YAML file of a source."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    name: str
    """Lower-case letters, digits and underscores."""
    purpose: str
    """One sentence for operators."""
    form: FeedForm
    """The form of the feed."""
    urls: Annotated[
        tuple[Annotated[str, Field(pattern=r"^https?://\S+$"), AfterValidator(_address)], ...],
        BeforeValidator(listed),
        Field(min_length=1, max_length=_MOST_URLS),
    ]
    """The addresses. For Overpass, that of the interpreter."""
    query: str | None = None
    """The query of Overpass, which begins with [out:json] and ends with `out center;`."""
    owner: str
    """The owner of the offers, which no other source has."""
    keywords: Annotated[tuple[str, ...], BeforeValidator(listed)]
    """The keywords of all offers, such as "#all"."""
    schedule: str
    """A crontab in UTC."""
    radius_m: int = Field(225, ge=0, le=100_000)
    box: BoxConfig | None = None
    """Rows outside are rejected."""
    licence: str
    attribution: str
    fields: FieldMapping
    zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    """The time zone of times without one."""
    places: Mapping[str, tuple[Annotated[float, Field(ge=-90, le=90)], Annotated[float, Field(ge=-180, le=180)]]] = {}
    """Latitude and longitude by the name of a place, for feeds without coordinates."""
    lead_hours: int | None = Field(None, ge=0, le=1_440)
    """Calendars: an offer is valid so long before its event begins. None: from its import on."""
    delimiter: Annotated[str, AfterValidator(_delimiter)] = Field(",", min_length=1, max_length=1)
    """Tables: the character between columns."""
    decimal_comma: bool = False
    """Whether coordinates may have a comma in place of the point."""
    thresholds: Mapping[str, float] = {}
    """When a run is suspect: `most_rejected`, `least_of_median`, `median_runs`, `floor`, `most_exchanged`."""
    stale_after_hours: int | None = Field(None, ge=1)
    """Without a trusted run for so long, all offers are removed. None: the setting of the service."""

    @model_validator(mode="after")
    def _check_form(self) -> "SourceConfig":
        if (self.query is not None) != (self.form == "overpass"):
            raise ValueError("query: is required for overpass, and for no other form")
        for key, form in _ONE_FORM.items():
            if key in self.model_fields_set and self.form != form:
                raise ValueError(f"{key}: is only for the form {form}")
        self.source()
        return self

    def source(self) -> OfferSource:
        """Return the description for the framework. Raises ValueError."""
        return OfferSource(
            name=self.name,
            purpose=self.purpose,
            owner=self.owner,
            keywords=self.keywords,
            schedule=self.schedule,
            licence=self.licence,
            attribution=self.attribution,
            radius_m=self.radius_m,
            box=None if self.box is None else AreaBox(self.box.south, self.box.west, self.box.north, self.box.east),
            thresholds=_thresholds(self.thresholds),
            stale_after_s=None if self.stale_after_hours is None else 3600 * self.stale_after_hours,
        )


_KEYS: Final = {
    "": tuple(SourceConfig.model_fields),
    "fields": tuple(FieldMapping.model_fields),
    "box": tuple(BoxConfig.model_fields),
}


def read_source(text: str) -> Importer:
    """Return the importer of a YAML file. Raises InvalidSource."""
    try:
        found = parsed_yaml(text)
    except ValueError as error:
        raise InvalidSource(str(error)) from None
    if not isinstance(found, dict):
        raise InvalidSource("the file must have names and values, such as `name: libraries`")
    try:
        return configured_importer(SourceConfig.model_validate(found))
    except ValidationError as error:
        raise InvalidSource("\n".join(problems(error, _KEYS))) from None


def configured_importer(config: SourceConfig) -> Importer:
    """Return the importer of a source."""
    mapper = RowMapper(
        config.fields,
        zone=ZoneInfo(config.zone),
        places=config.places,
        decimal_comma=config.decimal_comma,
        has_ms_times=config.form == "calendar",
    )

    def requests(area: ImportArea) -> Sequence[FeedRequest]:
        del area
        body = None if config.query is None else urlencode({"data": config.query}).encode()
        return [FeedRequest(url=url, kind=_KINDS[config.form], body=body) for url in config.urls]

    def parse(documents: Sequence[FeedDocument], now_ms: int) -> Parsed:
        missing = MissingFields(config.fields)
        found = merged(_parsed(_rows(config, document, now_ms), mapper, missing) for document in documents)
        return msgspec.structs.replace(found, remarks=(*found.remarks, *missing.remarks()))

    again_s = PARSE_AGAIN_S if config.form == "calendar" else math.inf
    return Importer(source=config.source(), requests=requests, parse=parse, parse_again_s=again_s)


def _parsed(rows: FeedRows, mapper: RowMapper, missing: MissingFields) -> Parsed:
    drafts, rejections = collect(missing.seen(rows), mapper.draft, mapper.row_id)
    return Parsed(
        drafts=tuple(drafts),
        rejections=(*rejections, *rows.rejections),
        remarks=tuple(rows.remarks),
        removed=frozenset(map(mapper.row_id, rows.removed)) - {""},
        partial=tuple(rows.partial),
    )


def _rows(config: SourceConfig, document: FeedDocument, now_ms: int) -> FeedRows:
    match config.form:
        case "geojson":
            return GeoJsonRows(document)
        case "overpass":
            return OverpassRows(document)
        case "calendar":
            return _EventRows(document, config, now_ms)
        case "syndication":
            return SyndicationRows(document)
        case "table":
            return TableRows(document, delimiter=config.delimiter)
        case "structured_data":
            return StructuredRows(document)


class _EventRows(CalendarRows):
    """The rows of a calendar with the fields of the point and of the validity."""

    def __init__(self, document: FeedDocument, config: SourceConfig, now_ms: int) -> None:
        super().__init__(document, zone=ZoneInfo(config.zone), now_ms=now_ms)
        self._lead_ms = None if config.lead_hours is None else config.lead_hours * _HOUR_MS

    def __iter__(self) -> Iterator[FeedRow]:
        for row in super().__iter__():
            yield _with_validity(row, self._lead_ms)


def _with_validity(row: FeedRow, lead_ms: int | None) -> FeedRow:
    latitude, longitude = row["geo"] or (None, None)
    visible_ms = None if lead_ms is None else row["starts_ms"] - lead_ms
    return row | {"latitude": latitude, "longitude": longitude, "visible_ms": visible_ms}


def _thresholds(values: Mapping[str, float]) -> Thresholds:
    try:
        return msgspec.convert(values, Thresholds, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"thresholds: {error}") from None
