import re
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.kafkastore.core.addresses import hex_address, mask_lookalikes, mask_text, mask_undecodable, parse_address
from services.kafkastore.settings import IpMode

MODES = st.sampled_from(["truncated", "full", "none"])


@pytest.mark.parametrize(
    ("text", "mode", "digits"),
    [
        ("83.149.9.216", "truncated", "53950900"),
        ("83.149.9.216", "full", "539509d8"),
        ("83.149.9.216", "none", ""),
        ("0.0.0.1", "full", "00000001"),
        ("2a00:1450:4001:80e::200e", "truncated", "2a001450400100000000000000000000"),
        ("2a00:1450:4001:80e::200e", "full", "2a0014504001080e000000000000200e"),
        ("::ffff:83.149.9.216", "full", "539509d8"),
        ("fe80::1%eth0", "full", "fe800000000000000000000000000001"),
    ],
)
def test_an_address_becomes_hexadecimal_after_the_ip_mode(text: str, mode: IpMode, digits: str) -> None:
    assert hex_address(text, mode) == digits


@pytest.mark.parametrize("text", ["", "unknown", "1.2.3", "1.2.3.4:80", "1.2.3.4, 5.6.7.8", "\0", "1" * 100_000])
def test_invalid_address_becomes_empty(text: str) -> None:
    assert parse_address(text) is None
    assert hex_address(text, "full") == ""
    assert mask_text(text, "truncated") == ""


def test_a_masked_address_can_be_read_again() -> None:
    assert mask_text("83.149.9.216", "truncated") == "83.149.9.0"
    assert mask_text("2a00:1450:4001:80e::200e", "truncated") == "2a00:1450:4001::"
    assert mask_text("83.149.9.216", "none") == ""


@settings(deadline=None)  # the machine may be busy
@given(st.ip_addresses() | st.ip_addresses(network="2002::/16"))
def test_truncated_address_keeps_its_network_and_nothing_of_its_host(address: IPv4Address | IPv6Address) -> None:
    full, cut = hex_address(str(address), "full"), hex_address(str(address), "truncated")
    kept = 10 if full.startswith("2002") and len(full) == 32 else {8: 6, 32: 12}[len(full)]
    assert cut == full[:kept] + "0" * (len(full) - kept)


@pytest.mark.parametrize(
    ("form", "left"),
    [
        ("2002:5102:458e::1", "2002:5102:4500::"),
        ("::ffff:81.2.69.142", "81.2.69.0"),
        ("64:ff9b::81.2.69.142", "64:ff9b::"),
        ("::81.2.69.142", "::"),
        ("2001:0:4136:e378:8000:63bf:aefd:ba71", "2001:0:4136::"),
        ("2001:db8:1:2:0:5efe:81.2.69.142", "2001:db8:1::"),
    ],
    ids=["6to4", "IPv4-mapped", "NAT64", "IPv4-compatible", "Teredo", "ISATAP"],
)
def test_embedded_ipv4_address_keeps_no_more_than_its_own_network_when_truncated(form: str, left: str) -> None:
    assert mask_text(form, "truncated") == left


@settings(deadline=None)  # the machine may be busy
@given(st.text(), MODES)
def test_no_text_raises(text: str, mode: IpMode) -> None:
    digits = hex_address(text, mode)
    assert len(digits) in (0, 8, 32)


def test_scope_is_removed_from_the_address() -> None:
    assert parse_address("fe80::1%eth0") == ip_address("fe80::1")


@pytest.mark.parametrize(
    ("data", "truncated", "none"),
    [
        (b"\xac83.149.9.216\xc4", b"\xac83.149.9.000\xc4", b"\xac00.000.0.000\xc4"),
        # The digits around the address belong to other fields, which can't be known.
        (b"1192.168.1.77", b"1192.168.1.00", b"1000.000.0.00"),
        (b"2a00:1450:4001:80e::200e", b"2a00:1450:4001:000::0000", b"0000:0000:0000:000::0000"),
        (b"abcd2001:db8:1:2:3:4:5:6", b"abcd2001:db8:1:0:0:0:0:0", b"abcd0000:000:0:0:0:0:0:0"),
        (b"[2001:DB8::1]:8080", b"[2001:DB8::0]:8080", b"[0000:000::0]:8080"),
        (b"::ffff:83.149.9.216", b"::0000:00.000.0.000", b"::0000:00.000.0.000"),
        (b"at 12:34:56 and 1.2.3", b"at 12:34:56 and 1.2.3", b"at 00:00:00 and 1.2.3"),
        (b"", b"", b""),
    ],
)
def test_text_like_an_address_is_masked_with_its_length(data: bytes, truncated: bytes, none: bytes) -> None:
    assert mask_lookalikes(data, "truncated") == truncated
    assert mask_lookalikes(data, "none") == none
    assert mask_lookalikes(data, "full") == data


# Addresses whose host part is not 0, so that a masked address differs from the original.
HOSTS_V4 = st.builds(lambda net, host: IPv4Address((net << 8) | host), st.integers(0, 2**24 - 1), st.integers(1, 255))
HOSTS_V6 = st.builds(
    lambda net, host: IPv6Address((net << 80) | host), st.integers(0, 2**48 - 1), st.integers(1, 2**80 - 1)
)
FORMS = (HOSTS_V4 | HOSTS_V6).flatmap(
    lambda address: st.sampled_from([str(address), address.exploded, address.exploded.upper()])
)


@settings(deadline=None)  # the machine may be busy
@given(st.binary(max_size=8), FORMS, st.binary(max_size=8), st.sampled_from(["truncated", "none"]))
def test_no_address_is_complete_after_masking(before: bytes, form: str, after: bytes, mode: IpMode) -> None:
    masked = mask_lookalikes(before + form.encode() + after, mode)
    assert len(masked) == len(before) + len(form) + len(after)
    assert form.encode() not in masked
    kept = masked[len(before) : len(before) + len(form)].decode()
    # Digits become 0. No other character changes.
    assert all(now in (was, "0") for was, now in zip(form, kept, strict=True))
    if mode == "none":
        assert not re.search("[1-9a-fA-F]", kept)


@settings(deadline=None)  # the machine may be busy
@given(st.binary(), MODES)
def test_masking_keeps_the_length_of_any_bytes_and_finds_nothing_the_second_time(data: bytes, mode: IpMode) -> None:
    masked = mask_lookalikes(data, mode)
    assert len(masked) == len(data)
    assert mask_lookalikes(masked, mode) == masked


def test_address_in_undecodable_bytes_is_erased_in_its_other_spellings_too() -> None:
    data = b"\x02\xac83.149.9.216 ip=1402276312&hex=539509D8&other=1402276313&v6=2002:5395:9d8::1"
    assert mask_undecodable(data, "truncated") == (
        b"\x02\xac83.149.9.000 ip=0000000000&hex=00000000&other=1402276313&v6=0000:0000:000::0"
    )
    assert mask_undecodable(data, "full") == data


@settings(deadline=None)  # the machine may be busy
@given(st.binary() | st.text("0123456789abcdef.:%-_", max_size=200).map(str.encode), MODES)
def test_masking_undecodable_bytes_keeps_their_length(data: bytes, mode: IpMode) -> None:
    assert len(mask_undecodable(data, mode)) == len(data)
