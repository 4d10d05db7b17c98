"""Mask a client's address before it is written to Kafka."""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from services.backbone.addresses import own_address
from services.kafkastore.settings import IpMode

IpAddress = IPv4Address | IPv6Address

_LONGEST_ADDRESS = 64  # longer text is not an address (IPv6 with a scope is shorter) and must not fill a cache
_IPV4_HOST_BITS = 8  # truncated: /24
_IPV6_HOST_BITS = 80  # truncated: /48
_6TO4_HOST_BITS = 88  # truncated: /40, which is /24 of the IPv4 address behind 2002::/16
_IPV4_GROUPS_KEPT = 3
_IPV6_GROUPS_KEPT = 3
# The patterns use no word boundaries: in undecodable bytes, a digit next to an address may be a length field.
_IPV6_LIKE = re.compile(rb"[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,}(?:\.[0-9]{1,3})*")
_IPV4_LIKE = re.compile(rb"[0-9]{1,3}(?:\.[0-9]{1,3}){3,}")
_DIGIT = re.compile(rb"[0-9A-Fa-f]")
_MOST_ADDRESSES = 16  # limit per undecodable entry: the search for each address reads the whole entry


def parse_address(text: str) -> IpAddress | None:
    """Parse an address. IPv4-mapped IPv6 becomes IPv4. Return None when the text is not an address."""
    if not text or len(text) > _LONGEST_ADDRESS:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        # A scope is an interface of the machine that received the address. It has no meaning here.
        return address.ipv4_mapped or IPv6Address(int(address))
    return address


def mask_address(address: IpAddress, mode: IpMode) -> IpAddress | None:
    """Mask an address by IP_MODE: the first address of its network, the whole address, or None.

    An IPv4 address inside an IPv6 one never keeps more than its /24. Only 6to4 contains it in the first 48 bits.
    Teredo, NAT64, ISATAP and IPv4-compatible addresses contain it after them.
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
    """Mask an address in its text form. Empty when IP_MODE is none or the text is not an address."""
    address = parse_address(text)
    masked = None if address is None else mask_address(address, mode)
    return "" if masked is None else str(masked)


# Each visitor sends several events. The cache is bounded, with at most 64 characters per entry.
@lru_cache(maxsize=65536)
def hex_address(text: str, mode: IpMode) -> str:
    """Return the masked address as 8 (IPv4) or 32 (IPv6) hexadecimal digits; empty without one."""
    address = parse_address(text)
    masked = None if address is None else mask_address(address, mode)
    return "" if masked is None else masked.packed.hex()


def mask_lookalikes(data: bytes, mode: IpMode) -> bytes:
    """Mask all text that looks like an IPv4 or IPv6 address in undecodable bytes. The length stays.

    truncated: every digit after the third group becomes 0 (and every digit after `::`, so that no IPv6 address keeps
    more than its /48); none: every digit of the address becomes 0; full: nothing changes. The function also masks the
    ends of version numbers with four parts, of times (12:34:56 has two colons) and of other text with two or more
    colons between hexadecimal digits. Separators stay, so that the form remains visible.

    The function finds addresses as text only. `mask_undecodable` also finds their other spellings.
    """
    if mode == "full":
        return data
    kept = (_IPV4_GROUPS_KEPT, _IPV6_GROUPS_KEPT) if mode == "truncated" else (0, 0)
    # The second pass also finds IPv4 addresses in the text that the first pass has masked, and masks them further.
    without_ipv6 = _IPV6_LIKE.sub(lambda found: _mask_groups(found[0], b":", kept[1]), data)
    return _IPV4_LIKE.sub(lambda found: _mask_groups(found[0], b".", kept[0]), without_ipv6)


def mask_undecodable(data: bytes, mode: IpMode) -> bytes:
    """Mask all addresses in undecodable bytes, where the client's address is unknown.

    The first 16 different addresses in text form are erased in all their spellings. For further addresses,
    `mask_lookalikes` masks the text form only. The length stays.
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
