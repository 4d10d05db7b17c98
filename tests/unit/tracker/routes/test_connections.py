from ipaddress import ip_network

import pytest

from services.tracker.routes import ConnectionBounds
from services.tracker.routes.connections import MAX_GRACED, Peer


def bounds() -> ConnectionBounds:
    return ConnectionBounds(
        max_connections=10,
        max_address_connections=3,
        max_buffer_bytes=1000,
        max_address_buffer_bytes=300,
        trusted=(ip_network("10.0.0.0/8"),),
    )


def entered(connections: ConnectionBounds, address: str) -> Peer:
    peer = connections.enter(address)
    assert peer is not None
    return peer


@pytest.mark.parametrize(
    ("address", "other"),
    [
        ("192.0.2.1", "192.0.2.2"),
        ("2001:db8:0:1::1", "2001:db8:0:2::1"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2"),  # IPv4 on a dual-stack socket
        ("fe80::1%eth0", "2001:db8::1"),
    ],
)
def test_connections_of_one_address_are_bounded_without_effect_on_others(address: str, other: str) -> None:
    connections = bounds()
    peers = [entered(connections, address) for _ in range(3)]
    assert connections.enter(address) is None
    assert connections.enter(other) is not None
    connections.leave(peers.pop())
    assert connections.enter(address) is not None


def test_addresses_of_one_ipv6_network_are_one_client() -> None:
    connections = bounds()
    for number in range(3):
        entered(connections, f"2001:db8:0:1::{number:x}")
    assert connections.enter("2001:db8:0:1:ffff:ffff:ffff:ffff") is None


def test_total_connections_are_bounded_also_for_trusted_proxies() -> None:
    connections = bounds()
    for _ in range(10):
        entered(connections, "10.0.0.1")
    assert connections.enter("10.0.0.1") is None
    assert connections.enter("192.0.2.1") is None
    assert connections.connections == 10


def test_buffers_of_one_address_are_bounded_except_for_trusted_proxies() -> None:
    connections = bounds()
    stranger, proxy = entered(connections, "192.0.2.1"), entered(connections, "10.0.0.1")
    assert connections.take(300, stranger)
    assert not connections.take(1, stranger)
    assert connections.take(700, proxy)
    assert not connections.take(1, proxy)
    assert connections.buffered_bytes == 1000
    connections.give_back(300, stranger)
    assert connections.take(300, proxy)


def test_incomplete_heads_use_at_most_half_of_buffers() -> None:
    connections = bounds()
    peers = [entered(connections, f"192.0.2.{number}") for number in range(3)]
    assert connections.take_for_head(250, peers[0])
    assert connections.take_for_head(250, peers[1])
    assert not connections.take_for_head(1, peers[2])
    assert connections.take(300, peers[2])


def test_grace_periods_are_bounded_in_number() -> None:
    connections = bounds()
    assert all(connections.begin_grace() for _ in range(MAX_GRACED))
    assert not connections.begin_grace()
    connections.end_grace()
    assert connections.begin_grace()
