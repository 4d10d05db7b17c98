"""Find and erase a client's own address in the other fields of its event. Pure: no I/O.

Every digit of the address becomes 0. The length of the field stays. The module finds these spellings. It also finds
them when they are percent-encoded, once or several times:

    IPv4  four decimal numbers, separated by . - _ or :, in either order (83.149.9.216, 216-9-149-83)
          one decimal number, eight hexadecimal digits, or two groups of an IPv6 address (::ffff:5395:9d8)
    IPv6  every text form of RFC 4291, in upper or lower case, with or without brackets, port and zone
          one decimal number, 32 hexadecimal digits, the groups separated by -, the form of ip6.arpa

An IPv6 address can embed an IPv4 address (6to4, Teredo, NAT64, ISATAP, IPv4-compatible). The embedded address is
erased as well. In a field of over 8,192 bytes, numbers with separators that only look like the address are also erased,
because an exact search takes too long. Digits without separators stay unless they spell the address. The module does
not find octal numbers, numbers of the form 0x53.0x95, and encodings such as Base64.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import pairwise
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from services.backbone.events import RawEvent, encode_raw

_LONGEST_READ: Final = 8192  # a search in 8 kB takes up to 20 ms, and clients decide how many events have long fields
_SHORT: Final = 512  # clients choose the fields, and the cache must stay small
_MOST_FIELDS: Final = 16_384
_LONGEST_ADDRESS: Final = 64
_LEAST_NUMBER: Final = 2**24  # 1.0.0.0: smaller numbers are common in text, and no client has such an address
_OCTETS: Final = 4
_LARGEST_OCTET: Final = 255
_GROUP_DIGITS: Final = 4
_PAIR: Final = 2
_TRIPLE: Final = 3
_IPV4_DIGITS: Final = 8
_IPV6_DIGITS: Final = 32
_IPV6_DECIMAL_DIGITS: Final = 39
_ARPA_CHARACTERS: Final = 63
_ID_DIGEST_BYTES: Final = 16
_UUID_CHARACTERS: Final = 36
_UUID_VERSION_AT: Final = 14

# A run of the characters of an address: hexadecimal digits and separators, plain or percent-encoded. The second
# alternative matches any other escape, so that its two digits do not count as the first digits of an address.
_RUN: Final = re.compile(
    rb"((?:[0-9A-Fa-f.:_-]|%(?:25)*(?:2[DEde]|3[0-9Aa]|5[Ff]|[46][1-6])){6,})|%(?:25)*[0-9A-Fa-f]{2}"
)
# The same for long fields. The possessive quantifiers (++) take a third of the time.
_LONG_RUN: Final = re.compile(
    rb"((?=[0-9A-Fa-f.:_%-]{6})(?:[0-9A-Fa-f.:_-]++|%(?:25)*(?:2[DEde]|3[0-9Aa]|5[Ff]|[46][1-6]))++)"
    rb"|%(?:25)*[0-9A-Fa-f]{2}"
)
_ENCODED_DIGIT: Final = re.compile("%(?:25)*(?:3[0-9]|[46][1-6])")
_DECIMAL: Final = re.compile(rb"[0-9]+")
_SEPARATOR: Final = re.compile(rb"[.:_-]")
_SEPARATOR_OR_ESCAPE: Final = re.compile(rb"[.:_%-]")
_DOTTED_TAIL: Final = re.compile(rb"(?<=:)(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})")
_NESTED_ESCAPE: Final = re.compile(rb"%(?:25)+")
_DIGIT: Final = re.compile(rb"%(?:25)*(?:3[0-9]|[46][1-6])|(%(?:25)*[0-9A-Fa-f]{2})|[0-9A-Fa-f]")


class OwnAddress(NamedTuple):
    """The search patterns of one client's address."""

    numbers: frozenset[int]
    """The results of _numbers for the spellings of the address."""
    hints: tuple[tuple[str, ...], ...]
    """The parts of each spelling, in lower case. A text contains a spelling only if it contains all parts of it, or if
    it has percent-encoded digits."""

    def may_be_in(self, text: str) -> bool:
        """Return whether a text may contain the address. This is cheap for texts without it."""
        text = text.lower()
        for parts in self.hints:
            if parts[0] in text and all(part in text for part in parts):
                return True
        return "%" in text and _ENCODED_DIGIT.search(text) is not None

    def erase(self, field: bytes, *, exactly: bool = True) -> bytes:
        """Replace each digit of the address by 0.

        In a field of over 8,192 bytes, and without `exactly`, each run that may contain the address becomes zeros, with
        its separators.
        """
        if not self.may_be_in(field.decode("latin-1")):
            return field
        if not exactly or len(field) > _LONGEST_READ:
            return _LONG_RUN.sub(self._erase_long_run, field)
        return _RUN.sub(self._erase_run, field)

    def _erase_long_run(self, found: re.Match[bytes]) -> bytes:
        run = found[1]
        if run is None:
            return found[0]
        if not _SEPARATOR_OR_ESCAPE.search(run):
            return self._erase_plain_digits(run)
        may_be_arpa = run.count(b".") + run.lower().count(b"2e") >= _IPV6_DIGITS - 1  # "ip6" and "arpa" follow the run
        return b"0" * len(run) if may_be_arpa or self.may_be_in(run.decode("ascii")) else run

    def _erase_plain_digits(self, run: bytes) -> bytes:
        """Erase the spellings that have no separator. A long text of hexadecimal digits stays otherwise as it is."""
        erased = lower = run.lower()
        for number in self.numbers:
            for spelling in (b"%d" % number, b"%08x" % number, b"%032x" % number):
                erased = erased.replace(spelling, b"0" * len(spelling))
        return run if erased == lower else _with_zeros(run, erased)

    def _erase_run(self, found: re.Match[bytes]) -> bytes:
        run = found[1]
        # A run of ip6.arpa ends before "ip6" and "arpa". It is longer than other runs, so its hints are not checked.
        if run is None or (len(run) < _ARPA_CHARACTERS and not self.may_be_in(run.decode("ascii"))):
            return found[0]
        if self.numbers.isdisjoint(_numbers(run)):
            return run
        head, dot, tail = run.rpartition(b".")
        if dot and tail.isalpha() and len(tail) < _IPV4_DIGITS:  # the "c" of "83-149-9-216.com" is not a digit
            return _DIGIT.sub(_zero, head) + dot + tail
        return _DIGIT.sub(_zero, run)


class _NumbersOf(dict[bytes, frozenset[int]]):
    """Caches the numbers that a field may spell, for any address. Only short fields are cached, because they repeat."""

    def __missing__(self, field: bytes) -> frozenset[int]:
        numbers = frozenset(number for found in _RUN.finditer(field) if found[1] for number in _numbers(found[1]))
        if len(field) <= _SHORT:
            if len(self) >= _MOST_FIELDS:
                self.clear()
            self[field] = numbers
        return numbers


_numbers_of: Final = _NumbersOf()


def erase_address(event: RawEvent, own: OwnAddress | None, *, exactly: bool = True) -> RawEvent:
    """Return the event without its client's address in the fields that the client chose. The field `address` stays.

    If the id contains the address, a digest of the event replaces the id. Different events keep different ids, and an
    entry that is shipped twice keeps its id. `exactly` is passed to `OwnAddress.erase`: it takes ten times as long.
    """
    if own is None or not _may_be_in(event, own, exactly=exactly):
        return event
    event_id = event.id.encode("utf-8", "replace")
    return msgspec.structs.replace(
        event,
        id=event.id if own.erase(event_id) == event_id else _digest(event),
        host=own.erase(event.host, exactly=exactly),
        path=own.erase(event.path, exactly=exactly),
        query=own.erase(event.query, exactly=exactly),
        user_agent=own.erase(event.user_agent, exactly=exactly),
        referrer=own.erase(event.referrer, exactly=exactly),
    )


def _may_be_in(event: RawEvent, own: OwnAddress, *, exactly: bool) -> bool:
    """Return whether an event may contain the address. kafkastore calls this for every event."""
    for field in (event.path, event.user_agent, event.referrer, event.host):
        if not exactly or len(field) > _LONGEST_READ:
            if own.may_be_in(field.decode("latin-1")):
                return True
        elif field and (numbers := _numbers_of[field]) and not own.numbers.isdisjoint(numbers):
            return True
    if event.query and own.may_be_in(event.query.decode("latin-1")):
        return True
    return not _is_uuid7(event.id) and own.may_be_in(event.id)


def _is_uuid7(text: str) -> bool:
    """Return whether an id looks like an id of the tracker, which consists of the time and random bits."""
    return len(text) == _UUID_CHARACTERS and text[_UUID_VERSION_AT] == "7"


@lru_cache(maxsize=16384)
def own_address(text: str) -> OwnAddress | None:
    """Return the search patterns of an address. Return None if the text is not an address of a client."""
    if not text or len(text) > _LONGEST_ADDRESS:
        return None
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    own = _of_ipv4(address) if isinstance(address, IPv4Address) else _of_ipv6(address)
    return own if own.numbers else None


def _of_ipv4(address: IPv4Address) -> OwnAddress:
    number = int(address)
    if number < _LEAST_NUMBER:
        return OwnAddress(frozenset(), ())
    groups = (f"{number >> 16:x}", f"{number & 0xFFFF:x}")
    return OwnAddress(
        frozenset((number,)),
        # Search for the longest part first, because it is the rarest in other text.
        tuple(
            tuple(sorted(parts, key=len, reverse=True)) for parts in (str(address).split("."), groups, (str(number),))
        ),
    )


def _of_ipv6(address: IPv6Address) -> OwnAddress:
    number = int(address)
    if number < _LEAST_NUMBER:
        return OwnAddress(frozenset(), ())
    groups = [int(group, 16) for group in address.exploded.split(":")]
    # The last two groups may be written as four decimal numbers.
    hexadecimal = {f"{group:x}" for group in groups[:-2] if group} or {f"{group:x}" for group in groups if group}
    numbers = {number}
    hints: list[tuple[str, ...]] = [tuple(sorted(hexadecimal, key=len, reverse=True)), (str(number),), ("arpa", "ip6")]
    nonzero = [group for group in groups if group]
    # Zeros are skipped, because "::" can replace any of them. Three groups are enough to recognise an address.
    numbers.update(_signatures(nonzero, min(len(nonzero), _TRIPLE))[-1:])
    low = IPv4Address(number & 0xFFFF_FFFF)
    for embedded in (low, address.sixtofour, address.teredo[1] if address.teredo else None):
        if embedded is not None:
            part = _of_ipv4(embedded)
            numbers |= part.numbers
            hints += part.hints
    return OwnAddress(frozenset(numbers), tuple(hints))


def _numbers(run: bytes) -> Iterator[int]:
    """Yield a number for each address that a run may spell. The time is linear in the length of the run."""
    if b"%" in run:
        run = unquote_to_bytes(_NESTED_ESCAPE.sub(b"%", run))
    parts = _SEPARATOR.split(run)
    yield from _of_octets(parts)
    if b":" in run or b"-" in run:
        yield from _of_groups(_SEPARATOR.split(_DOTTED_TAIL.sub(_as_groups, run)))
    for part in parts:
        if len(part) >= _IPV4_DIGITS:
            yield from _of_digits(part)
    if len(parts) >= _IPV6_DIGITS:  # ip6.arpa: one digit a part, in reverse order
        yield from _of_digits(b"".join(part for part in reversed(parts) if len(part) == 1))


def _of_octets(parts: list[bytes]) -> Iterator[int]:
    """Yield each four successive octets, in both orders. Letters may precede the first octet and follow the last."""
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
    yield from _signatures(nonzero, _PAIR)
    yield from _signatures(nonzero, _TRIPLE)


def _as_groups(tail: re.Match[bytes]) -> bytes:
    a, b, c, d = (int(octet) for octet in tail.groups())
    return b"%x:%x" % (a << 8 | b, c << 8 | d)


def _signatures(groups: list[int], size: int) -> list[int]:
    """Return a number for each `size` successive groups. `groups` has the groups of an address that are not zero."""
    if size == _PAIR:
        return [a << 48 | b for a, b in pairwise(groups)]
    return [a << 96 | b << 48 | c for a, b, c in zip(groups, groups[1:], groups[2:], strict=False)]


def _of_digits(part: bytes) -> Iterator[int]:
    for number in _DECIMAL.findall(part):
        if _IPV4_DIGITS <= len(number) <= _IPV6_DECIMAL_DIGITS:
            yield int(number)
    for width in (_IPV4_DIGITS, _IPV6_DIGITS):
        for begin in range(len(part) - width + 1):
            yield int(part[begin : begin + width], 16)


def _with_zeros(run: bytes, erased: bytes) -> bytes:
    """Return `run` with a 0 wherever `erased`, its copy in lower case, has one."""
    zero = ord("0")
    return bytes(zero if new == zero else old for new, old in zip(erased, run, strict=True))


def _zero(found: re.Match[bytes]) -> bytes:
    digit = found[0]
    if found[1] is not None:  # an encoded separator
        return digit
    return digit[:-2] + b"30" if digit.startswith(b"%") else b"0"


def _digest(event: RawEvent) -> str:
    return blake2b(encode_raw(event), digest_size=_ID_DIGEST_BYTES).hexdigest()
