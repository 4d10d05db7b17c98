import pytest

from services.offerserver.importers.catalog import NAMED, all_importers, plan_of, source_alone
from services.offerserver.importers.configured import InvalidSource
from tests.unit.offerserver.importing import source
from tests.unit.offerserver.reading import feed

FILES = {
    name: feed(name)
    for name in ("libraries.yaml", "concerts.yaml", "news.yaml", "parks.yaml", "cafes.yaml", "theatre.yaml")
}


def test_named_and_configured_importers_are_found() -> None:
    found = all_importers(FILES)
    assert set(found) == {
        *("berlin_markets", "dbpedia", "nature_spots", "sensor_community"),
        *("libraries", "concerts", "news", "parks", "cafes", "theatre"),
    }


def test_owners_of_the_old_system_have_chat_replies() -> None:
    owners = {importer.source.owner for importer in NAMED}
    assert owners == {"BerlinDeDaten", "DbpediaOrg", "BerlinDeNatur", "LuftDatenInfo"}


def test_two_importers_share_no_name_and_no_owner() -> None:
    same_name = feed("parks.yaml").replace("owner: CityParks", "owner: Other")
    same_owner = feed("news.yaml").replace("owner: CityNews", "owner: DbpediaOrg")
    with pytest.raises(InvalidSource) as caught:
        all_importers({"a.yaml": feed("parks.yaml"), "b.yaml": same_name, "c.yaml": same_owner, "d.yaml": "nonsense"})
    assert str(caught.value).splitlines() == [
        "b.yaml: name: another importer is named parks: a.yaml",
        "c.yaml: owner: DbpediaOrg is the owner of dbpedia: a built-in importer",
        "d.yaml: the file must have names and values, such as `name: libraries`",
    ]


def test_each_importer_has_a_second_of_its_own() -> None:
    plans = [plan_of(importer.source) for importer in all_importers(FILES).values()]
    assert len({plan.cron.split()[0] for plan in plans}) > 5
    assert plan_of(source()).cron.split()[1:] == ["10", "*", "*", "*", "*"]


@pytest.mark.parametrize("schedule", ["hourly", "61 * * * *", "* * * *", "0 0 0 * * *", ""])
def test_invalid_crontab_is_refused(schedule: str) -> None:
    with pytest.raises(InvalidSource, match=r"^a\.yaml: (the schedule |schedule: )"):
        all_importers({"a.yaml": feed("parks.yaml").replace('"20 3 * * *"', f'"{schedule}"')})


def test_file_alone_has_the_checks_of_the_start() -> None:
    text = feed("parks.yaml")
    assert source_alone("a.yaml", text).source.name == "parks"
    with pytest.raises(InvalidSource, match="is the owner of dbpedia: a built-in importer"):
        source_alone("a.yaml", text.replace("owner: CityParks", "owner: DbpediaOrg"))
    with pytest.raises(InvalidSource) as caught:
        source_alone("a.yaml", text.replace("20 3 * * *", "61 3 * * *"))
    assert str(caught.value).startswith("a.yaml: the schedule '61 3 * * *' is no crontab: ")


def test_version_differs_when_the_file_of_a_source_differs() -> None:
    text = FILES["libraries.yaml"]
    first = all_importers({"a.yaml": text})
    other = all_importers({"a.yaml": f"{text}\n# edited\n"})
    assert first["libraries"].version == all_importers({"a.yaml": text})["libraries"].version
    assert first["libraries"].version != other["libraries"].version
    assert first["dbpedia"].version == other["dbpedia"].version
