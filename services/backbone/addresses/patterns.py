"""The search patterns of one client's address, and the erasure of the address from a field."""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

from services.backbone.addresses.spellings import IPV4_DIGITS, IPV6_DIGITS, RUN, TRIPLE, signatures, spelled_numbers

# A search in 8 kB takes up to 20 ms. Clients choose the length of their fields, so they could slow down the service.
LONGEST_READ: Final = 8192
_LONGEST_ADDRESS: Final = 64
_LEAST_NUMBER: Final = 2**24  # 1.0.0.0: smaller numbers are common in text, and no client has such an address
_ARPA_CHARACTERS: Final = 63

# The same as RUN, for long fields. The possessive quantifiers (++) take a third of the time.
_LONG_RUN: Final = re.compile(
    rb"((?=[0-9A-Fa-f.:_%-]{6})(?:[0-9A-Fa-f.:_-]++|%(?:25)*(?:2[DEde]|3[0-9Aa]|5[Ff]|[46][1-6]))++)"
    rb"|%(?:25)*[0-9A-Fa-f]{2}"
)
_ENCODED_DIGIT: Final = re.compile("%(?:25)*(?:3[0-9]|[46][1-6])")
_SEPARATOR_OR_ESCAPE: Final = re.compile(rb"[.:_%-]")
_DIGIT: Final = re.compile(rb"%(?:25)*(?:3[0-9]|[46][1-6])|(%(?:25)*[0-9A-Fa-f]{2})|[0-9A-Fa-f]")


class OwnAddress(NamedTuple):
    """The search patterns of one client's address."""

    numbers: frozenset[int]
    """The results of spelled_numbers for the spellings of the address."""
    hints: tuple[tuple[str, ...], ...]
    """The parts of each spelling, in lower case. A text without percent-encoded digits contains a spelling only if it
    contains all parts of the spelling."""

    def may_be_in(self, text: str) -> bool:
        """Return whether a text may contain the address. This is cheap for texts without it."""
        text = text.lower()
        for parts in self.hints:
            if parts[0] in text and all(part in text for part in parts):
                return True
        return "%" in text and _ENCODED_DIGIT.search(text) is not None

    def erase(self, field: bytes, *, exactly: bool = True) -> bytes:
        """Replace each digit of the address by 0.

        If the field is longer than 8,192 bytes or `exactly` is false, a run that has separators and may contain the
        address becomes zeros, including the separators.
        """
        if not self.may_be_in(field.decode("latin-1")):
            return field
        if not exactly or len(field) > LONGEST_READ:
            return _LONG_RUN.sub(self._erase_long_run, field)
        return RUN.sub(self._erase_run, field)

    def _erase_long_run(self, found: re.Match[bytes]) -> bytes:
        run = found[1]
        if run is None:
            return found[0]
        if not _SEPARATOR_OR_ESCAPE.search(run):
            return self._erase_plain_digits(run)
        may_be_arpa = run.count(b".") + run.lower().count(b"2e") >= IPV6_DIGITS - 1  # "ip6" and "arpa" follow the run
        return b"0" * len(run) if may_be_arpa or self.may_be_in(run.decode("ascii")) else run

    def _erase_plain_digits(self, run: bytes) -> bytes:
        """Erase the spellings that have no separator. The other digits of the run do not change."""
        erased = lower = run.lower()
        for number in self.numbers:
            for spelling in (b"%d" % number, b"%08x" % number, b"%032x" % number):
                erased = erased.replace(spelling, b"0" * len(spelling))
        return run if erased == lower else _with_zeros(run, erased)

    def _erase_run(self, found: re.Match[bytes]) -> bytes:
        run = found[1]
        # The hints of an ip6.arpa name are "ip6" and "arpa". The run ends before them, so it never contains them.
        # Such a run has at least 63 characters. So check the hints only in shorter runs.
        if run is None or (len(run) < _ARPA_CHARACTERS and not self.may_be_in(run.decode("ascii"))):
            return found[0]
        if self.numbers.isdisjoint(spelled_numbers(run)):
            return run
        head, dot, tail = run.rpartition(b".")
        if dot and tail.isalpha() and len(tail) < IPV4_DIGITS:  # the "c" of "83-149-9-216.com" is not a digit
            return _DIGIT.sub(_zero, head) + dot + tail
        return _DIGIT.sub(_zero, run)


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
    numbers.update(signatures(nonzero, min(len(nonzero), TRIPLE))[-1:])
    low = IPv4Address(number & 0xFFFF_FFFF)
    for embedded in (low, address.sixtofour, address.teredo[1] if address.teredo else None):
        if embedded is not None:
            part = _of_ipv4(embedded)
            numbers |= part.numbers
            hints += part.hints
    return OwnAddress(frozenset(numbers), tuple(hints))


def _with_zeros(run: bytes, erased: bytes) -> bytes:
    """Return `run` with a 0 at each position of a 0 in `erased`, which is the lower-case run after the erasure."""
    zero = ord("0")
    return bytes(zero if new == zero else old for new, old in zip(erased, run, strict=True))


def _zero(found: re.Match[bytes]) -> bytes:
    digit = found[0]
    if found[1] is not None:  # an encoded separator
        return digit
    return digit[:-2] + b"30" if digit.startswith(b"%") else b"0"
