import asyncio
import gzip
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.develop.geoip import bundled_database
from deploy.operate.access_log import read_log
from services.backbone.events import Device, Location
from services.kafkastore.lookups import DeviceLookup, LocationLookup
from tests.unit.kafkastore.mmdb import write_database

MAXMIND = {"country": {"iso_code": "DE"}, "city": {"names": {"de": "Köln", "en": "Cologne"}}}
DB_IP = {"country_code": "FR", "city": "Roubaix", "state1": "Hauts-de-France", "latitude": 50.69}
COLOGNE, ROUBAIX, UNKNOWN = Location("DE", "Cologne"), Location("FR", "Roubaix"), Location("XX", "XX")


@pytest.fixture
def city(tmp_path: Path) -> Path:
    return write_database(tmp_path / "city.mmdb", {"1.2.3.0/24": MAXMIND, "5.6.0.0/16": DB_IP})


def test_locations_are_read_in_both_layouts(city: Path) -> None:
    with LocationLookup([city]) as locations:
        assert locations.loaded
        assert locations.locate("1.2.3.4") == COLOGNE
        assert locations.locate("::ffff:1.2.3.4") == COLOGNE
        assert locations.locate("5.6.7.8") == ROUBAIX
        assert locations.locate("9.9.9.9") == UNKNOWN


@pytest.mark.parametrize(
    ("record", "location"),
    [
        ({"country": {"iso_code": "DE"}}, Location("DE", "XX")),
        ({"country": "DE", "city": ""}, Location("DE", "XX")),
        ({"city": {"names": {"en": "Nowhere"}}}, UNKNOWN),
        ({"country": {"names": {}}, "city": {"names": []}}, UNKNOWN),
        ({"country_code": "DE", "city": 3.5}, Location("DE", "XX")),
        (["DE"], UNKNOWN),
        ("DE", UNKNOWN),
    ],
)
def test_malformed_records_are_read_as_far_as_possible(tmp_path: Path, record: object, location: Location) -> None:
    with LocationLookup([write_database(tmp_path / "odd.mmdb", {"1.2.3.0/24": record})]) as locations:
        assert locations.locate("1.2.3.4") == location


def test_second_database_is_used_when_the_first_has_no_record(tmp_path: Path) -> None:
    v4 = write_database(tmp_path / "v4.mmdb", {"1.2.3.0/24": MAXMIND})
    v6 = write_database(tmp_path / "v6.mmdb", {"2a00::/16": DB_IP}, ip_version=6)
    with LocationLookup([v4, v6]) as locations:
        assert locations.locate("1.2.3.4") == COLOGNE
        assert locations.locate("2a00:1450::1") == ROUBAIX
        assert locations.describe() == "v4.mmdb: Test-City; v6.mmdb: Test-City"


def test_location_is_unknown_without_a_database_and_readiness_reports_it(tmp_path: Path) -> None:
    with LocationLookup([]) as locations:
        assert locations.locate("1.2.3.4") == UNKNOWN
        assert not locations.loaded
        assert "GEOIP_DATABASE is not set" in locations.describe()
    with LocationLookup([tmp_path / "missing.mmdb"]) as locations:
        assert locations.locate("1.2.3.4") == UNKNOWN
        assert locations.describe() == "missing.mmdb: no such file, its locations are XX"


def test_database_that_arrives_later_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "city.mmdb"
    with LocationLookup([path]) as locations:
        assert locations.locate("1.2.3.4") == UNKNOWN
        write_database(path, {"1.2.3.0/24": MAXMIND})
        asyncio.run(locations.refresh())
        assert locations.locate("1.2.3.4") == COLOGNE


@pytest.mark.parametrize("how", ["renamed over it", "written in place"])
def test_replaced_database_is_loaded(city: Path, how: str) -> None:
    with LocationLookup([city]) as locations:
        assert locations.locate("1.2.3.4") == COLOGNE
        new = write_database(city.with_name("new"), {"1.2.3.0/24": DB_IP, "8.0.0.0/8": MAXMIND})
        os.utime(new, (1, 1))
        if how == "renamed over it":
            new.replace(city)
        else:
            shutil.copyfile(new, city)
        # Until the next check, it uses the open database, even if the file was changed or removed.
        assert locations.locate("5.6.7.8") == ROUBAIX
        asyncio.run(locations.refresh())
        assert locations.locate("1.2.3.4") == ROUBAIX
        assert locations.locate("5.6.7.8") == UNKNOWN


def test_database_truncated_in_place_does_not_end_the_process(city: Path) -> None:
    with LocationLookup([city]) as locations:
        city.write_bytes(b"")
        assert locations.locate("1.2.3.4") == COLOGNE


@pytest.mark.parametrize(
    "damage", [b"", b"not a database", b"\xab\xcd\xefMaxMind.com\xe1", b"\xab\xcd\xefMaxMind.com\xe0"]
)
def test_corrupt_file_keeps_the_old_database_until_a_valid_file_arrives(city: Path, damage: bytes) -> None:
    good = city.read_bytes()
    with LocationLookup([city]) as locations:
        city.write_bytes(damage)
        asyncio.run(locations.refresh())
        assert locations.locate("1.2.3.4") == COLOGNE
        assert "the new file is not used" in locations.describe()
        city.write_bytes(good)
        asyncio.run(locations.refresh())
        assert locations.locate("5.6.7.8") == ROUBAIX
        assert "not used" not in locations.describe()


def test_location_is_unknown_with_a_corrupt_file_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "city.mmdb"
    path.write_bytes(b"nonsense" * 100)
    with LocationLookup([path]) as locations:
        assert locations.locate("1.2.3.4") == UNKNOWN
        assert not locations.loaded


def test_unchanged_file_is_not_opened_again(city: Path) -> None:
    with LocationLookup([city]) as locations:
        locations.locate("1.2.3.4")
        asyncio.run(locations.refresh())
        locations.locate("1.2.3.4")
        assert locations.locate.cache_info().hits == 1


def test_removed_database_stays_in_use(city: Path) -> None:
    with LocationLookup([city]) as locations:
        city.unlink()
        asyncio.run(locations.refresh())
        assert locations.locate("1.2.3.4") == COLOGNE


@settings(deadline=None)  # the machine may be busy
@given(st.text())
def test_no_address_raises(text: str) -> None:
    database = bundled_database()
    assert database is not None
    with LocationLookup([]) as locations:
        assert locations.locate(text) == UNKNOWN


def test_a_damaged_data_section_never_raises(city: Path) -> None:
    content = bytearray(city.read_bytes())
    end = content.index(b"\xab\xcd\xefMaxMind")
    content[end - 60 : end] = b"\xff" * 60
    city.write_bytes(content)
    with LocationLookup([city]) as locations:
        for address in ("1.2.3.4", "5.6.7.8"):
            locations.locate(address)


# Devices -----------------------------------------------------------------------------------------------------

DEVICES = DeviceLookup()


@settings(deadline=None)  # the machine may be busy
@given(st.binary() | st.text().map(lambda text: f"Mozilla/5.0 ({text}) Version/{text}".encode("utf-8", "replace")))
def test_no_user_agent_raises(user_agent: bytes) -> None:
    assert DEVICES.classify(user_agent).device in {"desktop", "phone", "tablet", "tv", "bot", "other"}


@pytest.mark.parametrize("user_agent", [b"", b"-", b" ", b"\xff\xfe\0", b"\0" * 5000])
def test_user_agents_without_information_are_other(user_agent: bytes) -> None:
    assert DEVICES.classify(user_agent) == Device("other")


def test_long_user_agent_is_truncated() -> None:
    device = DEVICES.classify(b"Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)" + b"x" * 10**6)
    assert device == Device("bot", bot_name="bingbot")


def test_non_ascii_digits_do_not_break_a_version() -> None:
    assert DEVICES.classify("Mozilla/5.0 Firefox/²³.\u0661".encode()).device in {"other", "desktop"}
    assert DEVICES.classify(b"Firefox/" + b"9" * 1000).device == "other"


@pytest.mark.parametrize(
    ("user_agent", "device"),
    [
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_1) AppleWebKit/537.36 Chrome/32.0.1700.77 Safari/537.36",
            Device("desktop", "Mac", "Mac OS X", "10.9.1", "Chrome", "32.0.1700"),
        ),
        (
            "Mozilla/5.0 (iPad; CPU OS 16_0 like Mac OS X) AppleWebKit/605.1.15 CriOS/110 Mobile/15E148 Safari/604.1",
            Device("tablet", "iPad", "iOS", "16.0", "Chrome Mobile iOS", "110"),
        ),
        (
            "Mozilla/5.0 (SMART-TV; Linux; Tizen 5.0) SamsungBrowser/2.2 Chrome/63.0.3239.84 TV Safari/537.36",
            Device("tv", "Samsung SMART-TV", "Tizen", "5.0", "Samsung Internet", "2.2"),
        ),
        ("Mozilla/5.0 (compatible; GPTBot/1.0; +https://openai.com/gptbot)", Device("bot", bot_name="GPTBot")),
        ("msnbot/2.0b (+http://search.msn.com/msnbot.htm)", Device("bot", bot_name="msnbot")),
    ],
)
def test_well_known_user_agents(user_agent: str, device: Device) -> None:
    assert DEVICES.classify(user_agent.encode()) == device


# Tests with the access log of the demo ------------------------------------------------------------

ACCESS_LOG = Path(os.environ.get("PUSH_ACCESS_LOG", Path(__file__).parents[4] / "shared/data/access.log.gz"))
# The log is not in the repository. CI has it.
needs_access_log = pytest.mark.skipif(
    not ACCESS_LOG.exists() and "CI" not in os.environ, reason="needs the access log (PUSH_ACCESS_LOG)"
)


@needs_access_log
def test_access_log_is_classified() -> None:
    with gzip.open(ACCESS_LOG) as lines:
        agents = Counter(line.rstrip(b"\n").rsplit(b'"', 2)[1] for line in lines)
    devices = {agent: DEVICES.classify(agent) for agent in agents}
    kinds = Counter[str]()
    for agent, count in agents.items():
        kinds[devices[agent].device] += count
    assert sum(kinds.values()) == 10_000
    assert kinds["bot"] > 2500
    assert kinds["other"] < 300
    bots = {device.bot_name for device in devices.values() if device.device == "bot"}
    assert {
        "Googlebot",
        "bingbot",
        "msnbot",
        "Baiduspider",
        "YandexBot",
        "Yahoo! Slurp",
        "AhrefsBot",
        "Feedfetcher-Google",
        "FeedBurner",
        "UniversalFeedParser",
        "Tiny Tiny RSS",
        "Ezooms",
    } <= bots
    assert "" not in bots
    missed = [
        agent
        for agent, device in devices.items()
        if device.device != "bot" and any(word in agent.lower() for word in (b"bot", b"crawl", b"spider", b"+http"))
    ]
    assert missed == []


@needs_access_log
def test_the_bundled_database_knows_the_country_of_nine_in_ten_addresses() -> None:
    with gzip.open(ACCESS_LOG) as lines:
        addresses = {line.split(b" ", 1)[0].decode() for line in lines}
    database = bundled_database()
    assert database is not None
    with LocationLookup([database]) as locations:
        known = sum(locations.locate(address).country != "XX" for address in addresses)
    assert len(addresses) == 1753
    assert known / len(addresses) > 0.9


def test_the_bundled_database_knows_the_visitors_of_the_demonstration() -> None:
    addresses = {request.address for request in read_log(Path(__file__).parents[2] / "examples" / "access.log")}
    database = bundled_database()
    assert database is not None
    with LocationLookup([database]) as locations:
        countries = {address: locations.locate(address).country for address in addresses}
    assert countries["79.192.0.17"] == "DE"
    assert sum(country != "XX" for country in countries.values()) / len(countries) > 0.9
