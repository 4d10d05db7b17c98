"""The air sensors of sensor.community around the area of the settings.

The data host serves `filter/area=<latitude>,<longitude>,<km>`: the readings of the last five minutes, several of one
sensor. The API host is for sensors alone (https://github.com/opendata-stuttgart/meta/wiki/EN-APIs). Times are in UTC.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from services.offerserver.core.drafts import Draft, Parsed, merged
from services.offerserver.core.importer import FeedDocument, FeedRequest, ImportArea, Importer, OfferSource
from services.offerserver.core.values import InvalidRow, at_path, collect, number, plain_text, time_ms
from services.offerserver.importers.rows import FeedRow, JsonRows, required

_HOST: Final = "https://data.sensor.community"
_OLDEST_MS: Final = 30 * 60_000
_NEWEST_MS: Final = 60_000
"""After now, for clocks that differ. A reading of the future would be the newest one until its time has come."""
_DUST: Final = ("P1", "P2")
_WEATHER: Final = ("temperature", "humidity")
_KEYWORDS: Final = {"P1": "#p1", "P2": "#p2", "temperature": "#temperature", "humidity": "#humidity"}


def _requests(area: ImportArea) -> Sequence[FeedRequest]:
    around = f"{area.latitude:.4f},{area.longitude:.4f},{area.range_km}"
    return [FeedRequest(url=f"{_HOST}/airrohr/v1/filter/area={around}", kind="json")]


def _parse(documents: Sequence[FeedDocument], now_ms: int) -> Parsed:
    return merged(_parsed(document, now_ms) for document in documents)


def _parsed(document: FeedDocument, now_ms: int) -> Parsed:
    rows = JsonRows(document, "item")
    found, rejections = collect(rows, lambda row: _reading(row, now_ms), _row_id)
    # A sensor has several readings: the newest one counts. Of two at one time, it is the same one in each order.
    newest = {draft.id: draft for _, draft in sorted(found, key=lambda each: (each[0], msgspec.json.encode(each[1])))}
    return Parsed(
        drafts=tuple(newest.values()), rejections=(*rejections, *rows.rejections), partial=tuple(rows.partial)
    )


def _reading(row: FeedRow, now_ms: int) -> tuple[int, Draft] | None:
    """Return the time of a reading and its draft. None: it is old or of the future, indoor, or of another kind."""
    sensor = required(_row_id(row), "sensor.id")
    text = plain_text(row.get("timestamp"), "timestamp")
    measured_ms = time_ms(text, "timestamp", zone=dt.UTC)
    is_current = -_NEWEST_MS <= now_ms - measured_ms <= _OLDEST_MS
    if not is_current or at_path(row, "location.indoor") in (1, "1", True):
        return None
    values = _values(row.get("sensordatavalues"))
    kind, names = ("fe", _DUST) if any(name in values for name in _DUST) else ("ht", _WEATHER)
    shown_values = {name: values[name] for name in names if name in values}
    if not shown_values:
        return None
    dust_word = ("#feinstaub",) if kind == "fe" else ()
    draft = Draft(
        id=f"{kind}:{sensor}",
        text=f"Feinstaubsensor {sensor}" if kind == "fe" else f"Wettersensor {sensor}",
        latitude=number(at_path(row, "location.latitude"), "location.latitude"),
        longitude=number(at_path(row, "location.longitude"), "location.longitude"),
        keywords=(*(_KEYWORDS[name] for name in shown_values), *dust_word),
        extdata={"sid": sensor, **shown_values},
    )
    return measured_ms, draft


def _values(found: Any) -> dict[str, str]:
    """Return the readings by their kind. They are texts, with one decimal here: noise would be a write each run."""
    if not isinstance(found, list):
        raise InvalidRow("sensordatavalues", found, "is not a list")
    values = {}
    for each in found:
        name, value = at_path(each, "value_type"), at_path(each, "value")
        if isinstance(name, str) and name in _KEYWORDS and isinstance(value, str | int | float):
            values[name] = f"{_finite(value, name):.1f}"
    return values


def _finite(value: str | float, field: str) -> float:
    """Return a reading, which may have more digits than a coordinate."""
    try:
        reading = float(value)
    except ValueError:
        raise InvalidRow(field, value, "is not a number") from None
    if not -1e6 < reading < 1e6:  # noqa: PLR2004 - also NaN and infinity
        raise InvalidRow(field, value, "is not a reading")
    return reading


def _row_id(row: FeedRow) -> str:
    found = at_path(row, "sensor.id")
    return str(found) if isinstance(found, int | str) else ""


SENSOR_COMMUNITY: Final = Importer(
    source=OfferSource(
        name="sensor_community",
        purpose="Imports the readings of air sensors around the area of the settings.",
        owner="LuftDatenInfo",
        keywords=("#all", "#luftdaten"),
        schedule="*/10 * * * *",
        licence="ODbL 1.0, contents DbCL 1.0",
        attribution="Sensor.Community (https://sensor.community/)",
        stale_after_s=3600,
    ),
    requests=_requests,
    parse=_parse,
)
