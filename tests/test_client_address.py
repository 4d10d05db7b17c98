"""No address of a client survives truncation, in any spelling and any field.

Requests pass through the rules of the tracker and of kafkastore. The tests search everything that these rules write to
Kafka or to a log. tests/contract/test_privacy.py does the same with running services and a sample of addresses.
"""

import json
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.backbone.dead_letters import encode_dead_letter
from services.backbone.events import Device, Location, RawEvent, Record, encode_raw
from services.kafkastore.core.entries import FailedEntry, dead_letter, dead_value, id_of, prepare
from services.kafkastore.lookups import DeviceLookup
from services.kafkastore.settings import IpMode
from services.tracker import core
from services.tracker.settings import Settings

# No simple address occurs in its digits: those of 1_764_000_000_120 have the hexadecimal form of 64.0.0.1.
NOW_MS = 1_764_351_928_746
PROXY = "10.0.0.1"
RULES = core.Rules(
    trusted=(ip_network("10.0.0.0/8"),),
    person_parameters=frozenset(name.encode() for name in Settings().person_parameters),
    pod="10.1.2.3",
)
DEVICES = DeviceLookup()
Address = IPv4Address | IPv6Address

# A host of each network. The network alone does not reveal the host.
IPV4 = st.builds(
    lambda network, host: IPv4Address(network << 8 | host), st.integers(0x010000, 0xDFFFFF), st.integers(1, 255)
)


def ipv6(network: str) -> st.SearchStrategy[IPv6Address]:
    prefix = ip_network(network)
    hosts = st.integers(1, 2 ** (128 - prefix.prefixlen) - 1)
    addresses = st.builds(lambda host: IPv6Address(int(prefix.network_address) | host), hosts)
    return addresses.filter(lambda address: int(address) & (2**80 - 1) != 0)


CLIENTS = st.one_of(
    IPV4,
    ipv6("2000::/3"),
    ipv6("fc00::/7"),
    IPV4.map(lambda address: IPv6Address(0x2002 << 112 | int(address) << 80 | 1)),  # 6to4
    IPV4.map(lambda address: IPv6Address((0x20010000 << 96) | (0xFFFFFFFF ^ int(address)))),  # Teredo
    IPV4.map(lambda address: IPv6Address((0x64FF9B << 96) | int(address))),  # NAT64
    IPV4.map(lambda address: IPv6Address((0x20010DB8 << 96) | (0x5EFE << 32) | int(address))),  # ISATAP
)


def embedded(client: Address) -> list[IPv4Address]:
    """Return the IPv4 addresses that identify a client. This follows the RFCs and does not use our own code."""
    if isinstance(client, IPv4Address):
        return [client]
    number, low = int(client), int(client) & 0xFFFFFFFF
    found = []
    if number >> 112 == 0x2002:
        found.append(IPv4Address(number >> 80 & 0xFFFFFFFF))
    if number >> 96 == 0x20010000:
        found.append(IPv4Address(low ^ 0xFFFFFFFF))
    if number >> 32 == 0x64FF9B << 64 or number >> 32 & 0xFFFFFFFF in (0x5EFE, 0x02005EFE):
        found.append(IPv4Address(low))
    return [address for address in found if int(address) >= 2**24]


def spellings(client: Address) -> dict[str, str]:
    spelled: dict[str, str] = {}
    for address in embedded(client):
        octets = str(address).split(".")
        digits = address.packed.hex()
        spelled |= {
            "dotted": str(address),
            "dotted with zeros": ".".join(octet.zfill(3) for octet in octets),
            "dashes": "-".join(octets),
            "in-addr.arpa": address.reverse_pointer,
            "decimal number": str(int(address)),
            "hexadecimal": digits,
            "hexadecimal upper case": digits.upper(),
            "mapped": f"::ffff:{address}",
            "mapped in groups": f"::ffff:{digits[:4]}:{digits[4:]}",
            "6to4": str(IPv6Address(0x2002 << 112 | int(address) << 80)),
            "NAT64": str(IPv6Address((0x64FF9B << 96) | int(address))),
        }
    if isinstance(client, IPv6Address):
        head, tail = client.exploded[:30].rstrip(":"), IPv4Address(int(client) & 0xFFFFFFFF)
        spelled |= {
            "IPv6": str(client),
            "IPv6 in full": client.exploded,
            "IPv6 upper case": client.exploded.upper(),
            "IPv6 with a port, no brackets": f"{client}:8080",
            "IPv6 with a zone": f"{client}%25eth0",
            "IPv6 with a dotted end": f"{head}:{tail}",
            "IPv6 as digits": client.packed.hex(),
            "IPv6 as a number": str(int(client)),
            "IPv6 with dashes": str(client).replace(":", "-"),
            "ip6.arpa": client.reverse_pointer,
        }
    return spelled


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "separators encoded": lambda text: quote(text, safe="").replace(".", "%2E").replace("-", "%2d"),
    "encoded twice": lambda text: quote(quote(text, safe="").replace(".", "%2E"), safe=""),
    "all encoded": lambda text: "".join(f"%{ord(character):02x}" for character in text),
    "after an escape": lambda text: f"%20{text}%5D",
    "in brackets": lambda text: f"[{text}]:443",
    "after a word": lambda text: f"ip:{text}",
    "after letters that are digits, too": lambda text: f"fade.{text}.cafe",
}


class Sent(NamedTuple):
    path: str = "/t/view"
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: str | None = None
    is_batch: bool = False


def body(content_type: str, text: str, *, is_batch: bool = False) -> Sent:
    return Sent(headers=(("content-type", content_type),), body=text, is_batch=is_batch)


PLACES: dict[str, Callable[[str], Sent]] = {
    "path": lambda text: Sent(path=f"/{text}/view"),
    "type": lambda text: Sent(path=f"/t/{text}.gif"),
    "query": lambda text: Sent(query=f"a=1&ip={text}&b=2"),
    "name of a parameter": lambda text: Sent(query=f"{text}=1"),
    "device": lambda text: Sent(query=f"di={text}"),
    "url in the query": lambda text: Sent(query=f"url=https%3A%2F%2F{text}%2F"),
    "referrer": lambda text: Sent(headers=(("referer", f"https://{text}/?from={text}"),)),
    "user agent": lambda text: Sent(headers=(("user-agent", f"SomeBot/1.0 ({text})"),)),
    "name of a bot": lambda text: Sent(headers=(("user-agent", f"bot-{text}"),)),
    "host": lambda text: Sent(headers=(("host", text),)),
    "id": lambda text: Sent(headers=(("idempotency-key", f"{text}-17"),)),
    "form": lambda text: body("application/x-www-form-urlencoded", f"ip={text}"),
    "multipart form": lambda text: body(
        "multipart/form-data; boundary=b",
        f'--b\r\nContent-Disposition: form-data; name="ip"\r\n\r\n{text}\r\n--b--\r\n',
    ),
    "JSON": lambda text: body("application/json", json.dumps({"ip": text, "deep": {"list": [{"ip": text}]}})),
    "text": lambda text: body("text/plain", f"seen from {text}"),
    "batch": lambda text: body(
        "application/json",
        json.dumps([{"type": "view", "id": f"{text}/1", "path": f"/{text}/view", "params": {"ip": text}}]),
        is_batch=True,
    ),
    "NDJSON": lambda text: body(
        "application/x-ndjson", json.dumps({"event": f"seen {text}", "properties": {"a": [text]}}), is_batch=True
    ),
}


LIMITS = core.BatchLimits(events=9, events_setting="", entry_bytes=262_144, entry_setting="")


def events_of(sent: Sent, client: Address, *, opted_out: bool, received_at_ms: int) -> list[RawEvent]:
    """Process a request from a trusted proxy as the tracker does."""
    headers = [(b"x-forwarded-for", str(client).encode()), *((b"dnt", b"1") for _ in range(opted_out))]
    headers += [(name.encode(), value.encode()) for name, value in sent.headers]
    request = core.Request(sent.path.encode(), sent.query.encode(), headers, PROXY, received_at_ms)
    fields = core.header_fields(headers)
    content_type = fields.get(b"content-type", b"")
    data = (sent.body or "").encode()
    if not sent.is_batch:
        params = b"" if sent.body is None else core.params_of_body(content_type, data)
        return [core.event_of_request(request, fields, RULES, new_id="new", body_params=params)]
    batch = core.read_batch(content_type, data, LIMITS, received_at_ms=received_at_ms)
    sender = core.sender_of(request, fields, RULES)
    events = []
    for entry in batch:
        assert isinstance(entry, core.Entry)
        event, _ = core.event_of_batch_entry(entry, sender, RULES, received_at_ms=received_at_ms, new_id="new")
        events.append(event)
    return events


def written(event: RawEvent, mode: IpMode) -> list[bytes]:
    """Return everything that kafkastore writes to a topic or a log, for an event as a record and as a dead letter."""
    entry = encode_raw(event)
    outcome = prepare(
        entry,
        now_ms=NOW_MS,
        ip_mode=mode,
        locate=lambda _: Location(),
        classify=DEVICES.classify if mode != "none" else lambda _: Device(),
    )
    if isinstance(outcome, Record):
        headers = [value or b"" for _, value in outcome.headers]
        return [outcome.value, outcome.key or b"", *headers, id_of(entry, mode).encode()]
    assert isinstance(outcome, FailedEntry)
    record = encode_dead_letter(dead_letter(outcome, ip_mode=mode, time_ms=NOW_MS, attempt=1))
    return [record.value, *(value or b"" for _, value in record.headers), id_of(entry, mode).encode()]


def readable(data: bytes) -> bytes:
    """Decode percent-encoding until nothing changes, so that no encoding hides an address."""
    while (decoded := unquote_to_bytes(data)) != data:
        data = decoded
    return data.lower()


CASES = {
    "client": CLIENTS,
    "encoding": st.sampled_from(sorted(ENCODINGS)),
    "place": st.sampled_from(sorted(PLACES)),
    "received_at_ms": st.sampled_from([NOW_MS - 120, -1]),  # the second entry becomes a dead letter
    "data": st.data(),
}


@settings(deadline=None, max_examples=400)  # the machine may be busy
@given(**CASES, mode=st.sampled_from(["truncated", "none"]), opted_out=st.booleans())
def test_client_address_does_not_survive(  # noqa: PLR0917 - what hypothesis chooses
    client: Address,
    encoding: str,
    place: str,
    received_at_ms: int,
    data: st.DataObject,
    mode: IpMode,
    opted_out: bool,  # noqa: FBT001
) -> None:
    spelled = spellings(client)
    spelling = spelled[data.draw(st.sampled_from(sorted(spelled)), label="spelling")]
    sent = PLACES[place](ENCODINGS[encoding](spelling))
    for event in events_of(sent, client, opted_out=opted_out, received_at_ms=received_at_ms):
        for part in written(event, mode):
            assert readable(spelling.encode()) not in readable(part)


@settings(deadline=None)  # the machine may be busy
@given(**CASES)
def test_client_address_does_not_leave_the_tracker_when_the_visitor_opted_out(
    client: Address, encoding: str, place: str, received_at_ms: int, data: st.DataObject
) -> None:
    spelled = spellings(client)
    spelling = spelled[data.draw(st.sampled_from(sorted(spelled)), label="spelling")]
    sent = PLACES[place](ENCODINGS[encoding](spelling))
    for event in events_of(sent, client, opted_out=True, received_at_ms=received_at_ms):
        assert readable(spelling.encode()) not in readable(encode_raw(event))


@settings(deadline=None)  # the machine may be busy
@given(client=CLIENTS, encoding=st.sampled_from(sorted(ENCODINGS)), data=st.data())
def test_client_address_does_not_survive_when_the_entry_has_an_unknown_version(
    client: Address, encoding: str, data: st.DataObject
) -> None:
    spelled = spellings(client)
    spelling = spelled[data.draw(st.sampled_from(sorted(spelled)), label="spelling")]
    [event] = events_of(PLACES["query"](ENCODINGS[encoding](spelling)), client, opted_out=False, received_at_ms=NOW_MS)
    entry = b"\x02" + encode_raw(event)[1:]
    assert readable(spelling.encode()) not in readable(dead_value(entry, "truncated"))


@pytest.mark.parametrize("place", sorted(PLACES))
def test_client_address_is_kept_in_each_field_when_the_mode_is_full(place: str) -> None:
    # This shows that the tests above can fail.
    client = IPv4Address("83.149.9.216")
    for event in events_of(PLACES[place]("83.149.9.216"), client, opted_out=False, received_at_ms=-1):
        assert any(b"83.149.9.216" in part for part in written(event, "full"))
    [event] = events_of(PLACES[place]("81.2.69.142"), client, opted_out=False, received_at_ms=-1)
    assert b"81.2.69.142" in b"".join(written(event, "truncated")[:1])
