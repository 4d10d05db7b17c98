import pytest

from services.offerserver.importers.configured import InvalidSource, read_source
from services.offerserver.importers.source_text import parsed_yaml, unknown_key
from tests.unit.offerserver.reading import feed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("keywords: [#all]\nname: x\n", 'quote words that begin with #, such as "#all"'),
        ("name: x\nschedule: */10 * * * *\n", "line 2: .*quote a crontab that begins with"),
        ("name: x\nname: y\n", "line 2: name occurs twice"),
        ("fields: {id: a, id: b}", "line 1: id occurs twice"),
    ],
)
def test_text_that_cannot_be_read_has_a_line_and_a_hint(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parsed_yaml(text)
    assert "unicode string" not in str(caught.value)


def test_unknown_key_has_a_guess_and_the_known_ones() -> None:
    assert unknown_key("lisence", ["name", "licence"]) == "unknown key; did you mean licence? Known are name, licence"
    assert unknown_key("colour", ["name", "licence"]) == "unknown key; known are name, licence"


@pytest.mark.parametrize(
    ("written", "instead", "message"),
    [
        ("owner: CityParks", "ownr: CityParks", "ownr: unknown key; did you mean owner?"),
        ("text: properties.name", "txt: properties.name", "fields.txt: unknown key; did you mean text?"),
        ("owner: CityParks", "x: 1", "owner: is required"),
        ("form: geojson", "form: json", "form: must be one of 'geojson'"),
        ("form: geojson", "form: geojson\ndelimiter: ';'", "delimiter: is only for the form table"),
        ("https://data", "data", "urls.0: must begin with http:// or https://"),
        ("licence: CC0 1.0", "licence: ''", "licence: is empty"),
        ("name: parks", "name: My parks", "name: 'My parks' is no name of an importer"),
        ("form: geojson", "form: geojson\nbox: [1, 2, 3, 4]", "box: must have the form {south: 52.3"),
        ("form: geojson", "form: geojson\nbox: {south: '52,3', west: 13, north: 53, east: 14}", "use points: 52.3"),
        ("form: geojson", "form: geojson\nbox: {south: 52,3, west: 13, north: 53, east: 14}", "use points: 52.3"),
    ],
)
def test_invalid_value_is_explained_with_its_key(written: str, instead: str, message: str) -> None:
    text = feed("parks.yaml")
    assert written in text
    with pytest.raises(InvalidSource) as caught:
        read_source(text.replace(written, instead, 1))
    lines = str(caught.value).splitlines()
    assert any(message in line for line in lines)
    assert "Value error" not in str(caught.value)


def test_single_value_stands_for_a_list() -> None:
    text = feed("parks.yaml").replace('["#all", "#park"]', '"#all"').replace("  text:", "  id: id\n  text:")
    assert read_source(text).source.keywords == ("#all",)
