import datetime as dt
import json
from itertools import permutations
from typing import Any

import pytest

from services.offerserver.importers.sensor_community import SENSOR_COMMUNITY
from tests.unit.offerserver.importing import NOW_MS
from tests.unit.offerserver.reading import as_json, document, feed, first_url, parse, rejected

ROWS = json.loads(feed("sensors.json"))


def test_dust_sensor_has_its_newest_reading() -> None:
    found = parse(SENSOR_COMMUNITY, document(feed("sensors.json")))
    assert [draft.id for draft in found.drafts] == ["fe:11", "ht:12"]
    dust = found.drafts[0]
    assert dust.extdata == {"sid": "11", "P1": "15.3", "P2": "8.1"}
    assert dust.keywords == ("#p1", "#p2", "#feinstaub")
    assert dust.valid_until_ms is None


def test_weather_sensor_has_no_pressure() -> None:
    weather = parse(SENSOR_COMMUNITY, document(feed("sensors.json"))).drafts[1]
    assert weather.extdata == {"sid": "12", "temperature": "-3.0", "humidity": "71.0"}
    assert weather.keywords == ("#temperature", "#humidity")


def test_old_readings_indoor_sensors_and_other_kinds_are_left_out() -> None:
    found = parse(SENSOR_COMMUNITY, document(feed("sensors.json")))
    assert rejected(found) == [("16", "P1", "is not a reading")]
    assert parse(SENSOR_COMMUNITY, document(feed("sensors.json")), now_ms=NOW_MS + 3_600_000).drafts == ()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"timestamp": "soon"}, "timestamp"),
        ({"sensor": {}}, "sensor.id"),
        ({"sensordatavalues": "none"}, "sensordatavalues"),
        ({"sensordatavalues": [{"value_type": "P1", "value": "1e400"}]}, "P1"),
        ({"location": {"latitude": "x", "longitude": "13"}}, "location.latitude"),
    ],
)
def test_malformed_reading_is_rejected_alone(changes: dict[str, Any], field: str) -> None:
    found = parse(SENSOR_COMMUNITY, as_json([ROWS[0] | changes, ROWS[2]]))
    assert [draft.id for draft in found.drafts] == ["ht:12"]
    assert [each.field for each in found.rejections] == [field]


def test_value_of_an_unknown_kind_is_left_out() -> None:
    values = [{"value_type": [], "value": "3"}, {"value_type": {}, "value": "3"}, {"value_type": "P1", "value": "3"}]
    (draft,) = parse(SENSOR_COMMUNITY, as_json([ROWS[0] | {"sensordatavalues": values}])).drafts
    assert draft.extdata == {"sid": "11", "P1": "3.0"}


def test_reading_of_equal_times_does_not_depend_on_the_order() -> None:
    rows = [ROWS[0] | {"sensordatavalues": [{"value_type": "P1", "value": value}]} for value in ("3", "9", "5")]
    found = [parse(SENSOR_COMMUNITY, as_json(list(order))).drafts for order in permutations(rows)]
    assert [draft.extdata["P1"] for draft in found[0]] == ["9.0"]
    assert found == [found[0]] * 6


@pytest.mark.parametrize(("ahead_s", "count"), [(30, 1), (90, 0), (86_400, 0)])
def test_reading_of_the_future_is_left_out(ahead_s: int, count: int) -> None:
    moment = dt.datetime.fromtimestamp(NOW_MS / 1000 + ahead_s, dt.UTC)
    found = parse(SENSOR_COMMUNITY, as_json([ROWS[0] | {"timestamp": f"{moment:%Y-%m-%d %H:%M:%S}"}]))
    assert len(found.drafts) == count


def test_area_of_the_settings_is_requested_from_the_data_host() -> None:
    url = first_url(SENSOR_COMMUNITY)
    assert url == "https://data.sensor.community/airrohr/v1/filter/area=52.5000,13.4000,20"
