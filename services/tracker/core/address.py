"""Find the client's address: the peer's, or the address that a trusted proxy reports.

A header counts only when the peer is inside a trusted network. A list of hops is read from the right, because each hop
was written by the hop to its right. A client can invent every hop to the left of the first untrusted one.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MAX_HOPS = 32  # real paths are shorter; reading a header of 100,000 hops would take a second
_LONGEST_QUOTED = 8192  # for a line of Forwarded with quoted strings: 256 characters for each of 32 hops
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_MARK = re.compile(r'"(?:[^"\\]|\\.)*"|[",;]')  # a quoted string, a quote without an end, or a separator
_LONGEST_ADDRESS = 64  # an IPv6 address with a zone, brackets and a port; longer text is not an address


def client_address(peer: str | None, headers: Sequence[tuple[bytes, bytes]], trusted: Sequence[Network]) -> str:
    """Return the client's address as canonical text; empty when it is unknown.

    `headers` have lower-case names. The first valid address of these counts: X-Push-IP (set by this project's own
    proxies); X-Forwarded-For and Forwarded (RFC 7239), read from the right past trusted hops; X-Real-IP; the peer.
    X-Forwarded-For comes before Forwarded, because most proxies write X-Forwarded-For and forward the client's own
    Forwarded unchanged. An IPv4-mapped IPv6 address becomes IPv4. Zones and ports are dropped.
    """
    if not trusted:
        return canonical(peer or "")
    here = parse_address(peer or "")
    if here is None or not _inside(here, trusted):
        return canonical(peer or "")
    address = (
        _first(headers, b"x-push-ip")
        or _walk(_hops(headers, b"x-forwarded-for"), trusted)
        or _walk(_forwarded_hops(headers), trusted)
        or _first(headers, b"x-real-ip")
        or here
    )
    return str(address)


@lru_cache(maxsize=8192)
def parse_address(text: str) -> Address | None:
    """Parse an IPv4 or IPv6 address, with or without quotes, brackets, port and zone. None when it is invalid."""
    if len(text) > _LONGEST_ADDRESS:
        return None
    text = text.strip().strip('"').strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@lru_cache(maxsize=8192)
def canonical(text: str) -> str:
    """Return an address in the standard library's format; empty when it is invalid."""
    address = parse_address(text)
    return "" if address is None else str(address)


def is_inside(text: str, networks: Sequence[Network]) -> bool:
    """Return whether an address is inside one of the networks; False for text that is not an address."""
    address = parse_address(text)
    return address is not None and _inside(address, networks)


@lru_cache(maxsize=8192)
def client_network(text: str) -> str:
    """Return the network of one client: its IPv4 address, or the /64 of its IPv6 address."""
    address = parse_address(text)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address or text)


def _inside(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _values(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> list[str]:
    # Latin-1 decodes every byte. No byte beyond ASCII is part of an address.
    return [value.decode("latin-1") for name, value in headers if name == wanted]


def _first(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> Address | None:
    values = _values(headers, wanted)
    return parse_address(values[0]) if len(values) == 1 else None


def _hops(headers: Sequence[tuple[bytes, bytes]], wanted: bytes) -> list[str]:
    """Return the last hops of a list header, the nearest first. Repeated lines are one list (RFC 9110, 5.3)."""
    return ",".join(_values(headers, wanted)).rsplit(",", _MAX_HOPS)[: -_MAX_HOPS - 1 : -1]


def _walk(hops: Sequence[str], trusted: Sequence[Network]) -> Address | None:
    """Return the first untrusted hop, or the last hop before the end of the list or before an unreadable hop."""
    address: Address | None = None
    for hop in hops:
        named = parse_address(hop)
        if named is None:
            break
        address = named
        if not _inside(named, trusted):
            break
    return address


def _forwarded_hops(headers: Sequence[tuple[bytes, bytes]]) -> list[str]:
    """Return the `for` of the last elements of Forwarded, the nearest first; empty text for an element without `for`.

    Two kinds of lines cannot be split: a line with a quoted string that does not end, and a line with quoted strings
    that is longer than `_LONGEST_QUOTED`. Such a line counts as one unreadable hop, so the search ends there. Lines to
    its right are still read.
    """
    hops: list[str] = []
    for line in reversed(_values(headers, b"forwarded")):
        elements = _split_unquoted(line, ",")
        hops += [_for_of(element) for element in reversed(elements)]
        if len(hops) >= _MAX_HOPS:
            break
    return hops[:_MAX_HOPS]


def _for_of(element: str) -> str:
    """Return the unquoted `for` of one element of Forwarded (RFC 7239, 4); empty when it has none."""
    for pair in _split_unquoted(element, ";"):
        name, _, value = pair.partition("=")
        if name.strip().lower() == "for":
            quoted = _QUOTED.fullmatch(value.strip())
            return _ESCAPED.sub(r"\1", quoted[1]) if quoted else value
    return ""


def _split_unquoted(text: str, separator: str) -> list[str]:
    """Split at the separators outside quoted strings. Return one empty part when that is impossible."""
    if '"' not in text:
        return text.rsplit(separator, _MAX_HOPS)
    if len(text) > _LONGEST_QUOTED:
        return [""]
    parts: list[str] = []
    begin = 0
    # Split from the left: only there is it clear where a quoted string begins.
    for mark in _MARK.finditer(text):
        if mark[0] == '"':
            return [""]
        if mark[0] == separator:
            parts.append(text[begin : mark.start()])
            begin = mark.end()
    return [*parts, text[begin:]]
