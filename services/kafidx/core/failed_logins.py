"""How long an address waits after wrong passwords: pure rules, which know nothing of kafidx."""

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final, NamedTuple

FREE_FAILURES: Final = 5
"""Wrong passwords without a wait before the next: people mistype."""
LONGEST_WAIT_S: Final = 60.0
"""With it one address tries 1,500 passwords a day."""
EXPIRY_S: Final = 900.0
"""An address without a wrong password for so long starts anew."""
MOST_ADDRESSES: Final = 10_000
"""Strangers choose their addresses. They take 2.6 MB at the most."""


class _Failures(NamedTuple):
    times: int
    last_s: float


class FailedLogins:
    """The wrong passwords of each address: the fifth causes a wait of 1 s, and each one after it doubles the wait."""

    def __init__(self, *, most_addresses: int = MOST_ADDRESSES) -> None:
        """Start with no failures. Beyond `most_addresses` the address that failed the longest ago is forgotten."""
        self._most_addresses = most_addresses
        self._failures: OrderedDict[str, _Failures] = OrderedDict()  # in the order of their latest failure

    def wait_s(self, source: str, now_s: float) -> float:
        """Return how long this source has to wait before its next password is looked at; 0 when it need not."""
        failures = self._failures.get(source)
        if failures is None or failures.times < FREE_FAILURES:
            return 0.0
        doublings = min(failures.times - FREE_FAILURES, 16)
        return max(0.0, failures.last_s + min(2.0**doublings, LONGEST_WAIT_S) - now_s)

    def record(self, source: str, now_s: float) -> None:
        """Count a wrong password."""
        before = self._failures.pop(source, _Failures(0, now_s))
        times = 1 if now_s - before.last_s > EXPIRY_S else before.times + 1
        self._failures[source] = _Failures(times, now_s)
        if len(self._failures) > self._most_addresses:
            self._failures.popitem(last=False)


def source_of(address: str) -> str:
    """Return what counts as one source: an IPv4 address, or the /64 of an IPv6 address, which is one customer's.

    What is no address, as the peer of a unix socket, is one source.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ip_network((parsed, 64), strict=False))
