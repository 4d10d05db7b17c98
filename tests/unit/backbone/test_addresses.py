import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backbone.addresses import erase_address, own_address
from services.backbone.events import RawEvent

EVENT = RawEvent(
    id="01936f3e-7b5a-7c6d-8e9f-0a1b2c3d4e5f",
    received_at_ms=1_764_000_000_000,
    address="83.149.9.216",
    host=b"trk.example.org",
    pod="83.149.9.216",
    path=b"/offers/view",
    query=b"di=device-7&ts=1764000000000",
    user_agent=b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0 Chrome/83.149.9.217",
    referrer=b"https://www.example.org/",
)


def erased(text: str, address: str) -> str:
    own = own_address(address)
    assert own is not None
    return own.erase(text.encode()).decode()


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("83.149.9.216", "00.000.0.000"),
        ("ip=83.149.9.216&b=1", "ip=00.000.0.000&b=1"),
        ("083.149.009.216", "000.000.000.000"),
        ("83%2E149%252e9.216", "00%2E000%252e0.000"),
        ("%38%33.149.9.216", "%30%30.000.0.000"),
        ("%2083.149.9.216%5D", "%2000.000.0.000%5D"),
        ("a83.149.9.216b", "000.000.0.0000"),
        ("host-83-149-9-216.example", "host-00-000-0-000.example"),
        ("216.9.149.83.in-addr.arpa", "000.0.000.00.in-addr.arpa"),
        ("1402276312", "0000000000"),
        ("0x539509D8", "0x00000000"),
        ("::ffff:83.149.9.216", "::0000:00.000.0.000"),
        ("[2002:5395:9d8::1]", "[0000:0000:000::0]"),
        ("64%3Aff9b%3A%3A5395%3A9d8", "00%3A0000%3A%3A0000%3A000"),
        ("83.149.9.217 83.149.9.21 83.149.9.2161 1402276313 539509d9", None),
        ("83.149.9 216, 83/149/9/216", None),
    ],
)
def test_ipv4_address_is_erased_in_each_of_its_spellings(text: str, left: str | None) -> None:
    assert erased(text, "83.149.9.216") == (text if left is None else left)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("2001:db8:1::ab", "0000:000:0::00"),
        ("[2001:DB8:1::AB]:80", "[0000:000:0::00]:80"),
        ("2001:0db8:0001:0000:0000:0000:0000:00ab", "0000:0000:0000:0000:0000:0000:0000:0000"),
        ("2001:db8:1::0.0.0.171", "0000:000:0::0.0.0.000"),
        ("ip:2001:db8:1::ab:8080", "ip:0000:000:0::00:0000"),
        ("%5B2001%3Adb8%3A1%3A%3Aab%5D", "%5B0000%3A000%3A0%3A%3A00%5D"),
        ("2001-db8-1--ab.ipv6-literal.net", "0000-000-0--00.ipv6-literal.net"),
        ("20010DB80001000000000000000000AB", "0" * 32),
        ("42540766411283801782723599580828532907", "0" * 38),
        ("2001:db8:1::ac 2001:db8:2::ab ::ab", None),
    ],
)
def test_ipv6_address_is_erased_in_each_of_its_spellings(text: str, left: str | None) -> None:
    assert erased(text, "2001:db8:1::ab") == (text if left is None else left)


@pytest.mark.parametrize(
    "address",
    [
        "2002:5102:458e::1",
        "64:ff9b::5102:458e",
        "2001:0:4136:e378:8000:63bf:aefd:ba71",
        "2001:db8::5efe:81.2.69.142",
        "::81.2.69.142",
        "::ffff:81.2.69.142",
    ],
)
def test_ipv4_address_inside_the_address_of_the_client_is_erased_too(address: str) -> None:
    assert erased("ip=81.2.69.142", address) == "ip=00.0.00.000"


@pytest.mark.parametrize("text", ["", "unknown", "1.2.3", "::", "::1", "0.0.0.0", "1" * 100_000])
def test_address_that_identifies_no_client_is_not_searched(text: str) -> None:
    assert own_address(text) is None


def test_event_without_its_address_stays_the_same_object() -> None:
    assert erase_address(EVENT, own_address(EVENT.address)) is EVENT
    assert erase_address(EVENT, None) is EVENT


@pytest.mark.parametrize("field", ["path", "query", "host", "referrer", "user_agent"])
def test_field_that_holds_the_address_is_erased_and_no_other_changes(field: str) -> None:
    event = msgspec.structs.replace(EVENT, **{field: b"/at/83.149.9.216"})
    assert erase_address(event, own_address(EVENT.address)) == msgspec.structs.replace(
        EVENT, **{field: b"/at/00.000.0.000"}
    )


@pytest.mark.parametrize(
    ("unit", "address"),
    [
        ("1.", "1.2.3.4"),
        ("1.2.3.4 ", "1.2.3.4"),
        ("1.2.3.", "1.2.3.4"),
        ("1020304", "1.2.3.4"),
        ("%2525252E", "1.2.3.4"),
        ("%25", "1.2.3.4"),
        ("2001:db8:", "2001:db8::1:2"),
        ("2001:db8::1:3 ", "2001:db8::1:2"),
        ("2.0.0.1.", "2001:db8::1:2"),
    ],
)
def test_hostile_field_costs_little_time(unit: str, address: str) -> None:
    field = (unit * (262_144 // len(unit)) + " 1.2.3.4 2001:db8:1:2").encode()
    own = own_address(address)
    assert own is not None
    begin_s = time.process_time()
    assert len(own.erase(field)) == len(field)
    # It takes a quarter of a second on a slow machine. With quadratic time it takes minutes.
    assert time.process_time() - begin_s < 2


@pytest.mark.parametrize("address", ["83.149.9.216", "2001:db8::1:2"], ids=["in the paths", "not in the paths"])
def test_events_with_hostile_paths_cost_little_time(address: str) -> None:
    # 8 MB of events. kafkastore claims them at once, and a client sends them in 8 kB of gzip.
    path = b"/" + b"83:149:9:216:" * 20_000
    own = own_address(address)
    begin_s = time.process_time()
    for number in range(32):
        event = msgspec.structs.replace(EVENT, path=path + b"%d" % number)
        assert len(erase_address(event, own).path) == len(event.path)
    # It takes 0.1 s, and 14 s if the whole of each path is searched.
    assert time.process_time() - begin_s < 3


@pytest.mark.parametrize("text", ["83.149.9.216", "216-9-149-83", "1402276312", "5395:9d8", "%38%33.149.9.216"])
def test_address_in_a_long_field_is_erased_with_its_separators(text: str) -> None:
    padding = f"view of 2026-11-26 by {'0123456789abcdef' * 8} " * 100
    assert erased(f"{padding}ip={text}&b=1", "83.149.9.216") == f"{padding}ip={'0' * len(text)}&b=1"


@given(st.binary() | st.text("0123456789abcdefABCDEF.:%-_ ").map(str.encode), st.ip_addresses())
def test_field_keeps_its_length(field: bytes, address: object) -> None:
    own = own_address(str(address))
    if own is not None:
        assert len(own.erase(field)) == len(field)
        assert own.erase(own.erase(field)) == own.erase(field)
