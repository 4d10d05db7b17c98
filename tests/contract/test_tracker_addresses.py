"""Spellings of addresses in the headers of proxies: each is one request, whose event must have the right address."""

import pytest

from tests.contract.tracker_process import Tracker

PEER = "127.0.0.1"

FORWARDED_FOR = [
    (b"1.2.3.4", "1.2.3.4"),
    (b" 1.2.3.4 ", "1.2.3.4"),
    (b"1.2.3.4:5678", "1.2.3.4"),
    (b'"1.2.3.4"', "1.2.3.4"),
    (b'"1.2.3.4:80"', "1.2.3.4"),
    (b"[1.2.3.4]", "1.2.3.4"),
    (b"01.2.3.4", PEER),
    (b"1.2.3", PEER),
    (b"1.2.3.4.5", PEER),
    (b"256.2.3.4", PEER),
    (b"0x1.2.3.4", PEER),
    (b"16909060", PEER),
    (b"1.2.3.4/32", PEER),
    (b"1.2.3.4%eth0", "1.2.3.4"),
    (b"1.2.3.4:", "1.2.3.4"),
    (b"1.2.3.4:80:90", PEER),
    (b"-1.2.3.4", PEER),
    (b"1.2.3.4\t", "1.2.3.4"),
    (b"\xb2.2.3.4", PEER),
    (b"0.0.0.0", "0.0.0.0"),
    (b"255.255.255.255", "255.255.255.255"),
    (b"2001:db8::1", "2001:db8::1"),
    (b"2001:DB8::1", "2001:db8::1"),
    (b"2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1"),
    (b"2001:db8:0:0::1", "2001:db8::1"),
    (b"[2001:db8::1]", "2001:db8::1"),
    (b"[2001:db8::1]:443", "2001:db8::1"),
    (b'"[2001:db8::1]:443"', "2001:db8::1"),
    (b"[2001:db8::1", "2001:db8::1"),
    (b"2001:db8::1]", PEER),
    (b"[2001:db8::1%eth0]:443", "2001:db8::1"),
    (b"fe80::1%eth0", "fe80::1"),
    (b"fe80::1%25eth0", "fe80::1"),
    (b"::1", "::1"),
    (b"::", "::"),
    (b"::ffff:1.2.3.4", "1.2.3.4"),
    (b"::FFFF:1.2.3.4", "1.2.3.4"),
    (b"::ffff:102:304", "1.2.3.4"),
    (b"[::ffff:1.2.3.4]:80", "1.2.3.4"),
    (b"0:0:0:0:0:ffff:1.2.3.4", "1.2.3.4"),
    (b"::1.2.3.4", "::102:304"),
    (b"64:ff9b::1.2.3.4", "64:ff9b::102:304"),
    (b"2002:102:304::1", "2002:102:304::1"),
    (b"2001:db8:::1", PEER),
    (b"2001:db8::g", PEER),
    (b"12345::", PEER),
    (b"1:2:3:4:5:6:7", PEER),
    (b"1:2:3:4:5:6:7:8:9", PEER),
    (b"unknown", PEER),
    (b"_hidden", PEER),
    (b"", PEER),
    (b'"', PEER),
    (b"[]", PEER),
    (b":80", PEER),
    (b"localhost", PEER),
    (b"1.2.3.4 5.6.7.8", PEER),
    (b"1.2.3.4;5.6.7.8", PEER),
    (b"1.2.3.4, 5.6.7.8", "5.6.7.8"),
    (b"1.2.3.4,5.6.7.8,127.0.0.2", "5.6.7.8"),
    (b"5.6.7.8, garbage, 127.0.0.2", "127.0.0.2"),
    (b"5.6.7.8,, 127.0.0.2", "127.0.0.2"),
    (b"127.0.0.3, 127.0.0.2", "127.0.0.3"),
]
FORWARDED = [
    (b"for=1.2.3.4", "1.2.3.4"),
    (b"For=1.2.3.4", "1.2.3.4"),
    (b'for="1.2.3.4:80"', "1.2.3.4"),
    (b'for="[2001:db8::1]:443"', "2001:db8::1"),
    (b"for=[2001:db8::1]", "2001:db8::1"),
    (b"proto=https;for=1.2.3.4;by=5.6.7.8", "1.2.3.4"),
    (b"for=5.6.7.8, for=1.2.3.4", "1.2.3.4"),
    (b"for=1.2.3.4, for=127.0.0.2", "1.2.3.4"),
    (b"for = 1.2.3.4", "1.2.3.4"),
    (b"for=unknown", PEER),
    (b"for=_x", PEER),
    (b"by=1.2.3.4", PEER),
    (b"for=", PEER),
    (b"for=1.2.3.4;for=5.6.7.8", "1.2.3.4"),
    (b'for="::ffff:1.2.3.4"', "1.2.3.4"),
    (b"1.2.3.4", PEER),
]
SPELLINGS = [(b"X-Forwarded-For", *one) for one in FORWARDED_FOR] + [(b"Forwarded", *one) for one in FORWARDED]


def test_suite_has_at_least_seventy_spellings() -> None:
    assert len(set(SPELLINGS)) == len(SPELLINGS) >= 70


@pytest.mark.parametrize(("name", "value", "address"), SPELLINGS)
def test_address_spelling_is_read_or_ignored(tracker: Tracker, name: bytes, value: bytes, address: str) -> None:
    sent = tracker.send(b"GET /a HTTP/1.1\r\nHost: x\r\n%s: %s\r\n\r\n" % (name, value))
    assert sent.status == 200
    assert tracker.event().address == address
