"""Mask client addresses as IP_MODE demands. Pure: no I/O."""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from services.backbone.addresses import own_address
from services.kafkastore.settings import IpMode

IpAddress = IPv4Address | IPv6Address

_LONGEST_ADDRESS = 64  # an IPv6 address with a scope is shorter; longer text must not fill a cache
_IPV4_HOST_BITS = 8  # truncated: /24
_IPV6_HOST_BITS = 80  # truncated: /48
_6TO4_HOST_BITS = 88  # truncated: /40, which is /24 of the IPv4 address behind 2002::/16
_IPV4_GROUPS_KEPT = 3
_IPV6_GROUPS_KEPT = 3
# No word boundaries: in undecodable bytes, the digit before an address may be the length of a field.
_IPV6_LIKE = re.compile(rb"[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,}(?:\.[0-9]{1,3})*")
_IPV4_LIKE = re.compile(rb"[0-9]{1,3}(?:\.[0-9]{1,3}){3,}")
_DIGIT = re.compile(rb"[0-9A-Fa-f]")
_MOST_ADDRESSES = 16  # in one undecodable entry: the search for each address reads the whole entry


def parse_address(text: str) -> IpAddress | None:
    """Parse an address. An IPv4-mapped IPv6 address becomes IPv4. Return None if the text is not an address."""
    if not text or len(text) > _LONGEST_ADDRESS:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        # Remove the scope. It is an interface of the machine that received the request.
        return address.ipv4_mapped or IPv6Address(int(address))
    return address


def mask_address(address: IpAddress, mode: IpMode) -> IpAddress | None:
    """Return the masked address: the first address of its network (truncated), all of it (full), or None (none).

    An IPv4 address that an IPv6 address embeds keeps at most its /24. Only 6to4 embeds it in the first 48 bits. Teredo,
    NAT64, ISATAP and IPv4-compatible addresses embed it in the bits after them.
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
    """Return a masked address as text. Empty if IP_MODE is none, or if the text is not an address."""
    address = parse_address(text)
    masked = None if address is None else mask_address(address, mode)
    return "" if masked is None else str(masked)


# A client sends several events. The cache is bounded, and its keys have at most 64 characters.
@lru_cache(maxsize=65536)
def hex_address(text: str, mode: IpMode) -> str:
    """Return a masked address as 8 (IPv4) or 32 (IPv6) hexadecimal digits. Empty in the cases of mask_text."""
    address = parse_address(text)
    masked = None if address is None else mask_address(address, mode)
    return "" if masked is None else masked.packed.hex()


def mask_lookalikes(data: bytes, mode: IpMode) -> bytes:
    """Mask all text that looks like an IPv4 or IPv6 address in undecodable bytes. The length stays.

    - truncated: every digit after the third group becomes 0, and every digit after `::`. So no IPv6 address keeps more
      than its /48.
    - none: every digit of the address becomes 0.
    - full: nothing changes.

    Some other text also loses its end: version numbers of four parts, times (12:34:56 has two colons), and text with
    two or more colons between hexadecimal digits. Separators stay, so the form stays visible.

    This function finds only the usual notation. `mask_undecodable` finds the other spellings.
    """
    if mode == "full":
        return data
    kept = (_IPV4_GROUPS_KEPT, _IPV6_GROUPS_KEPT) if mode == "truncated" else (0, 0)
    # The second search also finds IPv4 addresses in the masked text, and masks more of them. That is harmless.
    without_ipv6 = _IPV6_LIKE.sub(lambda found: _mask_groups(found[0], b":", kept[1]), data)
    return _IPV4_LIKE.sub(lambda found: _mask_groups(found[0], b".", kept[0]), without_ipv6)


def mask_undecodable(data: bytes, mode: IpMode) -> bytes:
    """Mask all addresses in undecodable bytes, since the client's address can't be identified. The length stays.

    The first 16 different addresses in the usual notation are erased in all their spellings. Of further addresses, only
    the usual notation is masked (`mask_lookalikes`).
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
