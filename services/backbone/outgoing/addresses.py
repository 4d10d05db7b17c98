"""Which addresses a request to a foreign URL may connect to: global unicast only. Pure: no I/O."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

IpNetwork = IPv4Network | IPv6Network

_NAMED: Final[tuple[tuple[IpNetwork, str], ...]] = tuple(
    (ip_network(network), name)
    for network, name in (
        ("0.0.0.0/8", "this network"),
        ("127.0.0.0/8", "loopback"),
        ("10.0.0.0/8", "private"),
        ("172.16.0.0/12", "private"),
        ("192.168.0.0/16", "private"),
        ("100.64.0.0/10", "shared by the customers of a provider"),
        ("169.254.0.0/16", "link-local"),
        ("192.88.99.0/24", "a relay of 6to4"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("64:ff9b:1::/48", "a local NAT64"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
        ("2001:db8::/32", "for documentation"),
        ("3fff::/20", "for documentation"),
    )
)
"""Networks that are refused, with their name. Other special networks are refused without a name."""
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_COMPATIBLE: Final = IPv6Network("::/96")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_SHORTEST_COMPATIBLE: Final = 0x10000
"""`::` and `::1` are in the network of IPv4-compatible addresses, and contain none."""


def refusal_of(address: str, *, allowed: Sequence[IpNetwork] = ()) -> str:
    """Return why a connection to an address is refused, or an empty string if it is allowed.

    An IPv6 address that contains an IPv4 address (mapped, compatible, 6to4, Teredo, NAT64) is judged by it. Addresses
    in the `allowed` networks are not refused.
    """
    parsed = ip_address(address.partition("%")[0])
    embedded = tuple(_embedded(parsed)) if isinstance(parsed, IPv6Address) else ()
    for each in embedded or (parsed,):
        if any(each in network for network in allowed):
            continue
        if reason := _reason(each):
            return f"{address} is {reason}" if not embedded else f"{address} contains {each}, which is {reason}"
    return ""


def _embedded(address: IPv6Address) -> Iterator[IPv4Address]:
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    elif address.sixtofour is not None:
        yield address.sixtofour
    elif address.teredo is not None:
        yield from address.teredo
    elif address in _NAT64 or (address in _COMPATIBLE and int(address) >= _SHORTEST_COMPATIBLE):
        yield IPv4Address(int(address) & 0xFFFF_FFFF)


def _reason(address: IPv4Address | IPv6Address) -> str:
    for network, name in _NAMED:
        if address in network:
            return name
    if not address.is_global or (isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST):
        return "not a global unicast address"
    return ""
