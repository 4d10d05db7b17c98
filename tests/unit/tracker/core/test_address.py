import time
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tracker.core.address import client_address, parse_address

TRUSTED = tuple(map(ip_network, ("10.0.0.0/8", "127.0.0.0/8", "fd00::/8")))
PROXY = "10.0.0.1"


def xff(value: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"x-forwarded-for", value)]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("1.2.3.4", "1.2.3.4"),
        (" 1.2.3.4:5678 ", "1.2.3.4"),
        ('"[2001:DB8::1]:443"', "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("unknown", "None"),
        ("_hidden", "None"),
        ("1.2.3", "None"),
        ("01.2.3.4", "None"),
        ("", "None"),
        ("1" * 1000, "None"),
    ],
)
def test_address_is_parsed_in_every_form(text: str, address: str) -> None:
    assert str(parse_address(text)) == address


def test_headers_of_untrusted_peer_are_ignored() -> None:
    headers = [(b"x-push-ip", b"9.9.9.9"), (b"x-real-ip", b"9.9.9.9"), *xff(b"9.9.9.9")]
    assert client_address("8.8.8.8", headers, TRUSTED) == "8.8.8.8"
    assert client_address(PROXY, headers, ()) == PROXY


def test_hops_are_read_from_the_right_past_trusted_hops() -> None:
    assert client_address(PROXY, xff(b"6.6.6.6, 9.9.9.9, 10.1.1.1, 10.2.2.2"), TRUSTED) == "9.9.9.9"


def test_repeated_header_lines_are_one_list() -> None:
    assert client_address(PROXY, [*xff(b"9.9.9.9"), *xff(b"10.1.1.1")], TRUSTED) == "9.9.9.9"


def test_client_address_is_farthest_hop_when_all_hops_are_trusted() -> None:
    assert client_address(PROXY, xff(b"10.9.9.9, 10.1.1.1"), TRUSTED) == "10.9.9.9"


def test_invalid_hop_ends_search() -> None:
    assert client_address(PROXY, xff(b"6.6.6.6, garbage, 10.1.1.1"), TRUSTED) == "10.1.1.1"
    assert client_address(PROXY, xff(b"garbage"), TRUSTED) == PROXY


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        (b"for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
        (b'For="[2001:db8:cafe::17]:4711"', "2001:db8:cafe::17"),
        (b"for=9.9.9.9, for=10.0.0.7", "9.9.9.9"),
        (b"for=_hidden", PROXY),
        (b"by=1.2.3.4", PROXY),
        (b'for=5.5.5.5;host="x, for=6.6.6.6"', "5.5.5.5"),
        (b'for=5.5.5.5;host="x; for=6.6.6.6"', "5.5.5.5"),
        (b'host="x;for=6.6.6.6";for=5.5.5.5', "5.5.5.5"),
        (b'for=6.6.6.6, for=5.5.5.5;host="a\\", for=7.7.7.7, b"', "5.5.5.5"),
        (b'for="5.5.5\\.5:80"', "5.5.5.5"),
        (b'for="[2001:db8::1]", for="10.0.0.7"', "2001:db8::1"),
        # The client has sent a quoted string without an end, so its extent is unknown.
        (b'for=6.6.6.6;host="x, for=5.5.5.5', PROXY),
        (b'for=6.6.6.6;host="x\\', PROXY),
        (b'for=5.5.5.5;host="' + b"x" * 10_000 + b'"', PROXY),
    ],
)
def test_forwarded_header_is_read(forwarded: bytes, address: str) -> None:
    assert client_address(PROXY, [(b"forwarded", forwarded)], TRUSTED) == address


def test_unsplittable_forwarded_line_ends_search_after_lines_to_its_right() -> None:
    headers = [(b"forwarded", b'for=6.6.6.6;host="x'), (b"forwarded", b"for=5.5.5.5"), (b"forwarded", b"for=10.0.0.7")]
    assert client_address(PROXY, headers, TRUSTED) == "5.5.5.5"
    assert client_address(PROXY, [headers[0], headers[2]], TRUSTED) == "10.0.0.7"


@pytest.mark.parametrize(
    "line", [b'""' * 128_000, b'"' * 255_999, b'"' + b"\\" * 256_000, b',"",' * 64_000, b"," * 256_000, b";" * 256_000]
)
def test_long_forwarded_header_is_parsed_fast(line: bytes) -> None:
    begin_s = time.process_time()
    assert client_address(PROXY, [(b"forwarded", line)], TRUSTED) == PROXY
    assert time.process_time() - begin_s < 0.1


def test_x_push_ip_comes_first_and_x_real_ip_last() -> None:
    headers = [(b"x-real-ip", b"3.3.3.3"), *xff(b"2.2.2.2"), (b"x-push-ip", b"1.1.1.1")]
    assert client_address(PROXY, headers, TRUSTED) == "1.1.1.1"
    assert client_address(PROXY, headers[:2], TRUSTED) == "2.2.2.2"
    assert client_address(PROXY, headers[:1], TRUSTED) == "3.3.3.3"


def test_x_forwarded_for_comes_before_forwarded() -> None:
    assert client_address(PROXY, [(b"forwarded", b"for=6.6.6.6"), *xff(b"2.2.2.2")], TRUSTED) == "2.2.2.2"


def test_ipv4_mapped_peer_is_its_ipv4_address() -> None:
    assert client_address("::ffff:10.0.0.1", xff(b"9.9.9.9"), TRUSTED) == "9.9.9.9"


def test_connection_without_peer_has_no_address() -> None:
    assert client_address(None, xff(b"9.9.9.9"), TRUSTED) == ""


def test_only_nearest_hops_are_read() -> None:
    assert client_address(PROXY, xff(b"9.9.9.9" + b",10.0.0.2" * 50_000), TRUSTED) == "10.0.0.2"


@given(st.sampled_from([b"x-forwarded-for", b"forwarded", b"x-real-ip", b"x-push-ip"]), st.binary(max_size=200))
def test_any_header_gives_an_address(name: bytes, value: bytes) -> None:
    assert parse_address(client_address(PROXY, [(name, value)], TRUSTED)) is not None
