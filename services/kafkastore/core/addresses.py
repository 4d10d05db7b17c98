"""What is left of a client's address in Kafka."""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from services.backbone.addresses import own_address
from services.kafkastore.settings import IpMode

IpAddress = IPv4Address | IPv6Address

_LONGEST_ADDRESS = 64  # an IPv6 address with a scope is shorter; what is longer is none, and must not fill a cache
_IPV4_HOST_BITS = 8  # truncated: /24
_IPV6_HOST_BITS = 80  # truncated: /48
_6TO4_HOST_BITS = 88  # truncated: /40, which is /24 of the IPv4 address behind 2002::/16
_IPV4_GROUPS_KEPT = 3
_IPV6_GROUPS_KEPT = 3
# No word boundaries: in bytes that can't be decoded, a digit beside an address may be the length of something.
_IPV6_LIKE = re.compile(rb"[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,}(?:\.[0-9]{1,3})*")
_IPV4_LIKE = re.compile(rb"[0-9]{1,3}(?:\.[0-9]{1,3}){3,}")
_DIGIT = re.compile(rb"[0-9A-Fa-f]")
_MOST_ADDRESSES = 16  # in one entry that can't be decoded: the search for each one reads all of it


def parse_address(text: str) -> IpAddress | None:
    """Read an address; IPv4 mapped into IPv6 is IPv4; None when the text is no address."""
    if not text or len(text) > _LONGEST_ADDRESS:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        # A scope names an interface of the machine that saw it and means nothing here.
        return address.ipv4_mapped or IPv6Address(int(address))
    return address


def mask_address(address: IpAddress, mode: IpMode) -> IpAddress | None:
    """Cut an address to what IP_MODE leaves of it: its network's first address, all of it, or None.

    An IPv4 address inside an IPv6 one never keeps more than its /24. Only 6to4 holds it in the first 48 bits; Teredo,
    NAT64, ISATAP and IPv4-compatible addresses hold it behind them.
    """
    if mode == "none":
        return None
    if mode == "full":
        return address
    if isinstance(address, IPv4Address):
        return IPv4Address(int(address) >> _IPV4_HOST_BITS << _IPV4_HOST_BITS)
    host_bits = _IPV6_HOST_BITS if address.sixtofour is None else _6TO4_HOST_BITS
    return IPv6Address(int(address) >> host_bits << host_bits)


def mask_text(text: str, mode: IpMode) -> str:
    """Cut an address in its text form; empty when nothing is left or the text is no address."""
    address = parse_address(text)
    masked = None if address is None else mask_address(address, mode)
    return "" if masked is None else str(masked)


# Visitors send several events each; bounded, and 64 characters an entry at most.
@lru_cache(maxsize=65536)
def hex_address(text: str, mode: IpMode) -> str:
    """Write what IP_MODE leaves of an address as 8 (IPv4) or 32 (IPv6) hexadecimal digits; empty when nothing is."""
    address = parse_address(text)
    masked = None if address is None else mask_address(address, mode)
    return "" if masked is None else masked.packed.hex()


def mask_lookalikes(data: bytes, mode: IpMode) -> bytes:
    """Mask whatever looks like an IPv4 or IPv6 address in bytes that nobody can decode. The length stays.

    truncated: every digit after the third group becomes 0 (and every digit after `::`, so that no IPv6 address keeps
    more than its /48); none: every digit of the address does; full: nothing changes. What is lost beside addresses:
    the ends of version numbers of four parts, of times (12:34:56 has two colons) and of other text with two or more
    colons between hexadecimal digits. Separators stay, so that the form can still be seen.

    Addresses are found as text: see `mask_undecodable` for their other spellings.
    """
    if mode == "full":
        return data
    kept = (_IPV4_GROUPS_KEPT, _IPV6_GROUPS_KEPT) if mode == "truncated" else (0, 0)
    # The second look also finds the IPv4 addresses among what the first has masked: that leaves even less.
    without_ipv6 = _IPV6_LIKE.sub(lambda found: _mask_groups(found[0], b":", kept[1]), data)
    return _IPV4_LIKE.sub(lambda found: _mask_groups(found[0], b".", kept[0]), without_ipv6)


def mask_undecodable(data: bytes, mode: IpMode) -> bytes:
    """Mask the addresses in bytes that can't be decoded, so that nobody knows which one is the client's.

    The first 16 different addresses that stand there as text are erased in each of their spellings; of further ones
    `mask_lookalikes` masks the text. The length stays.
    """
    if mode == "full":
        return data
    masked = mask_lookalikes(data, mode)
    found = dict.fromkeys(match[0] for pattern in (_IPV4_LIKE, _IPV6_LIKE) for match in pattern.finditer(data))
    for text in list(found)[:_MOST_ADDRESSES]:
        own = own_address(text.decode("ascii"))
        if own is not None:
            masked = own.erase(masked)
    return masked


def _mask_groups(address: bytes, separator: bytes, kept: int) -> bytes:
    groups = address.split(separator)
    if b"" in groups:
        kept = min(kept, groups.index(b""))
    return separator.join([*groups[:kept], *(_DIGIT.sub(b"0", group) for group in groups[kept:])])
