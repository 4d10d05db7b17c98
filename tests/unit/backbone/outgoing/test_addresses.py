from ipaddress import ip_network

import pytest

from services.backbone.outgoing.addresses import refusal_of


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1", "127.0.0.1 is loopback"),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1 contains 127.0.0.1, which is loopback"),
        ("64:ff9b::a00:1", "64:ff9b::a00:1 contains 10.0.0.1, which is private"),
        ("fe80::1%eth0", "fe80::1%eth0 is link-local"),
        ("198.51.100.7", "198.51.100.7 is not a global unicast address"),
        ("4000::1", "4000::1 is not a global unicast address"),
    ],
)
def test_refusal_names_the_address_and_its_kind(address: str, reason: str) -> None:
    assert refusal_of(address) == reason


@pytest.mark.parametrize(
    "address",
    [
        "9.9.9.9",
        "2606:4700:4700::1111",
        "::ffff:9.9.9.9",
        "64:ff9b::909:909",
        "2002:909:909::1",
        "192.0.0.9",  # anycast for port control: global
    ],
)
def test_global_unicast_is_allowed_also_inside_ipv6(address: str) -> None:
    assert refusal_of(address) == ""


def test_teredo_is_refused_when_its_server_or_its_client_is() -> None:
    # The server is bytes 4 to 8; the client is the inverse of the last four bytes.
    assert refusal_of("2001:0:909:909::f6f6:f6f6") == ""
    assert "127.0.0.1" in refusal_of("2001:0:909:909::80ff:fffe")
    assert "10.0.0.1" in refusal_of("2001:0:a00:1::f6f6:f6f6")


def test_allowed_networks_are_not_refused() -> None:
    own = (ip_network("10.7.0.0/16"),)
    assert refusal_of("10.7.3.4", allowed=own) == ""
    assert refusal_of("::ffff:10.7.3.4", allowed=own) == ""
    assert refusal_of("10.8.0.1", allowed=own) != ""
