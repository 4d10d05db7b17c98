"""The delay after wrong passwords, by address."""

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final, NamedTuple

FREE_FAILURES: Final = 5
"""The number of wrong passwords after which an address must wait. Fewer cause no delay, since people mistype."""
LONGEST_WAIT_S: Final = 60.0
"""One address can then try 1,500 passwords a day."""
EXPIRY_S: Final = 900.0
"""After this time without a wrong password the failures of an address are removed."""
MOST_ADDRESSES: Final = 10_000
"""Clients choose their addresses, so their number is bounded. 10,000 of them take 2.6 MB."""


class _Failures(NamedTuple):
    times: int
    last_s: float


class FailedLogins:
    """Counts wrong passwords by source. The fifth causes a delay of 1 s. Each later one doubles it, up to 60 s."""

    def __init__(self, *, most_addresses: int = MOST_ADDRESSES) -> None:
        """Keep at most `most_addresses` sources. The source whose latest failure is the oldest is removed first."""
        self._most_addresses = most_addresses
        self._failures: OrderedDict[str, _Failures] = OrderedDict()  # in the order of their latest failure

    def wait_s(self, source: str, now_s: float) -> float:
        """Return the seconds until the next password of this source is checked, or 0."""
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
    """Return the source of an address: an IPv4 address, or the /64 network of an IPv6 address.

    Providers give each customer a /64 network. All peers without an IP address, such as unix sockets, are one source.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ip_network((parsed, 64), strict=False))
