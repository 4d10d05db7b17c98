"""Parse a run of characters as an address in every spelling, and compute the integer of each result."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Final
from urllib.parse import unquote_to_bytes

IPV4_DIGITS: Final = 8
IPV6_DIGITS: Final = 32
TRIPLE: Final = 3
_PAIR: Final = 2
_OCTETS: Final = 4
_LARGEST_OCTET: Final = 255
_GROUP_DIGITS: Final = 4
_IPV6_DECIMAL_DIGITS: Final = 39

# A run of the characters of an address: hexadecimal digits and separators, plain or percent-encoded. The second
# alternative matches any other escape, so that its two digits do not count as the first digits of an address.
RUN: Final = re.compile(
    rb"((?:[0-9A-Fa-f.:_-]|%(?:25)*(?:2[DEde]|3[0-9Aa]|5[Ff]|[46][1-6])){6,})|%(?:25)*[0-9A-Fa-f]{2}"
)
_DECIMAL: Final = re.compile(rb"[0-9]+")
_SEPARATOR: Final = re.compile(rb"[.:_-]")
_DOTTED_TAIL: Final = re.compile(rb"(?<=:)(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})")
_NESTED_ESCAPE: Final = re.compile(rb"%(?:25)+")


def spelled_numbers(run: bytes) -> Iterator[int]:
    """Yield the integer of each address that a run may contain. The time is linear in the length of the run.

    An IPv6 address in groups has no single integer here: the function yields its `signatures` instead.
    """
    if b"%" in run:
        run = unquote_to_bytes(_NESTED_ESCAPE.sub(b"%", run))
    parts = _SEPARATOR.split(run)
    yield from _of_octets(parts)
    if b":" in run or b"-" in run:
        yield from _of_groups(_SEPARATOR.split(_DOTTED_TAIL.sub(_as_groups, run)))
    for part in parts:
        if len(part) >= IPV4_DIGITS:
            yield from _of_digits(part)
    if len(parts) >= IPV6_DIGITS:  # ip6.arpa: one digit a part, in reverse order
        yield from _of_digits(b"".join(part for part in reversed(parts) if len(part) == 1))


def _of_octets(parts: list[bytes]) -> Iterator[int]:
    """Yield two integers for every four adjacent octets: for the given order and for the reverse order.

    Letters may precede the first octet and follow the last.
    """
    forward = backward = count = 0
    for octet in _octets(parts):
        if not 0 <= octet <= _LARGEST_OCTET:
            count = 0
            continue
        forward = (forward << 8 | octet) & 0xFFFF_FFFF
        backward = backward >> 8 | octet << 24
        count += 1
        if count >= _OCTETS:
            yield forward
            yield backward


def _octets(parts: list[bytes]) -> Iterator[int]:
    """Yield the decimal numbers of a run in order. Yield -1 between numbers that are not adjacent."""
    for part in parts:
        if part.isdigit():
            yield int(part) if len(part) <= _GROUP_DIGITS else -1
            continue
        numbers = _DECIMAL.findall(part)  # "ab83" begins a sequence, "216cd" ends one
        if numbers and part[:1].isdigit() and len(numbers[0]) <= _GROUP_DIGITS:
            yield int(numbers[0])
        yield -1
        if numbers and part[-1:].isdigit() and len(numbers[-1]) <= _GROUP_DIGITS:
            yield int(numbers[-1])


def _of_groups(parts: list[bytes]) -> Iterator[int]:
    groups = [int(part or b"0", 16) if len(part) <= _GROUP_DIGITS else -1 for part in parts]
    for high, low in pairwise(groups):
        if high > 0 <= low:
            yield high << 16 | low
    nonzero = [group for group in groups if group > 0]
    yield from signatures(nonzero, _PAIR)
    yield from signatures(nonzero, TRIPLE)


def _as_groups(tail: re.Match[bytes]) -> bytes:
    a, b, c, d = (int(octet) for octet in tail.groups())
    return b"%x:%x" % (a << 8 | b, c << 8 | d)


def signatures(groups: list[int], size: int) -> list[int]:
    """Return one integer for every two or three (`size`) adjacent groups. Equal groups have equal integers.

    `groups` contains only the nonzero groups of an address, because "::" can replace zeros.
    """
    if size == _PAIR:
        return [a << 48 | b for a, b in pairwise(groups)]
    return [a << 96 | b << 48 | c for a, b, c in zip(groups, groups[1:], groups[2:], strict=False)]


def _of_digits(part: bytes) -> Iterator[int]:
    for number in _DECIMAL.findall(part):
        if IPV4_DIGITS <= len(number) <= _IPV6_DECIMAL_DIGITS:
            yield int(number)
    for width in (IPV4_DIGITS, IPV6_DIGITS):
        for begin in range(len(part) - width + 1):
            yield int(part[begin : begin + width], 16)
