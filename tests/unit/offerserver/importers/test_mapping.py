from typing import Any
from zoneinfo import ZoneInfo

import pytest

from services.offerserver.core.fingerprints import id_of_parts
from services.offerserver.core.values import InvalidRow
from services.offerserver.importers.mapping import FieldMapping, RowMapper

ROW = {"id": 5, "name": "A place", "latitude": 52.5, "longitude": 13.4}


def mapper(
    *, places: dict[str, tuple[float, float]] | None = None, has_ms_times: bool = False, **fields: Any
) -> RowMapper:
    mapping = FieldMapping.model_validate({"text": "name"} | fields)
    return RowMapper(
        mapping,
        zone=ZoneInfo("Europe/Berlin"),
        places=places or {},
        decimal_comma=False,
        has_ms_times=has_ms_times,
    )


def test_row_without_an_id_is_rejected() -> None:
    with pytest.raises(InvalidRow, match="id: is missing, and identifies the row"):
        mapper().draft({"name": "A place", "latitude": 1.0, "longitude": 1.0})
    assert mapper().row_id({"name": "A place"}) == ""


def test_id_of_several_fields_is_a_hash() -> None:
    both = mapper(id=["id", "name"])
    assert both.draft(ROW).id == both.row_id(ROW) == id_of_parts("5", "A place")


def test_table_of_places_is_used_for_rows_without_coordinates() -> None:
    found = mapper(places={"Old  Hall": (52.1, 13.1)}, location_name="where")
    assert found.draft(ROW | {"where": "elsewhere"}).latitude == 52.5
    row = {"id": 1, "name": "x", "where": " old hall "}
    assert (found.draft(row).latitude, found.draft(row).longitude) == (52.1, 13.1)
    with pytest.raises(InvalidRow, match="where: is not in the table of places"):
        found.draft(row | {"where": "barn"})


def test_extdata_has_numbers_and_texts_without_gaps() -> None:
    found = mapper(extdata={"size": "size", "open": "hours", "none": "missing", "by": "author"})
    row = ROW | {"size": 3, "hours": ["9-12", "<b>14-18</b>"], "author": {"name": "Ada"}}
    assert found.draft(row).extdata == {"size": 3, "open": "9-12, 14-18", "by": "Ada"}


def test_words_become_at_most_ten_hashtags() -> None:
    words = mapper(keywords=["tags"])
    assert words.draft(ROW | {"tags": "Music / Dance; music,"}).keywords == ("#music", "#dance")
    assert len(words.draft(ROW | {"tags": [f"word{n}" for n in range(30)]}).keywords) == 10
    assert words.draft(ROW | {"tags": "x" * 100}).keywords == ()


def test_times_are_read_in_the_zone_of_the_source() -> None:
    found = mapper(valid_until="end").draft(ROW | {"end": "2026-07-01T12:00"})
    assert found.valid_until_ms == 1_782_900_000_000
    assert mapper(valid_until="end").draft(ROW).valid_until_ms is None


def test_event_of_one_day_lasts_for_the_day() -> None:
    found = mapper(valid_from="begin", valid_until="end").draft(ROW | {"begin": "2026-07-01", "end": "2026-07-01"})
    assert found.valid_from_ms is not None
    assert found.valid_until_ms == found.valid_from_ms + 86_400_000


@pytest.mark.parametrize("value", [1_890_000_000, True, 5.5, 0])
def test_number_is_no_time_but_in_rows_of_a_calendar(value: object) -> None:
    with pytest.raises(InvalidRow, match="end: is not a time"):
        mapper(valid_until="end").draft(ROW | {"end": value})
    assert mapper(valid_until="end", has_ms_times=True).draft(ROW | {"end": 5}).valid_until_ms == 5


def test_id_keeps_its_markup_and_has_one_form() -> None:
    ids = [mapper().draft(ROW | {"id": value}).id for value in ("<a@b>", "x<b>", "x<c>", 1, 1.0, "1")]
    assert ids == ["<a@b>", "x<b>", "x<c>", "1", "1", "1"]
    one, other = (mapper(id=["id", "name"]).draft(ROW | {"id": value}).id for value in (1, 1.0))
    assert one == other
