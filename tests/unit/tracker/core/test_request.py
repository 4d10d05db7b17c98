import base64
import json
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backbone.events import client_id, decode_raw, encode_raw, type_of_path
from services.tracker.core import (
    Budget,
    Entry,
    Request,
    Rules,
    event_of_batch_entry,
    event_of_request,
    header_fields,
    is_long,
    params_of_body,
    sender_of,
    wants_image,
)
from services.tracker.settings import Settings

EXAMPLES = json.loads((Path(__file__).parents[3] / "examples" / "requests.json").read_text())
PERSON = frozenset(name.encode() for name in Settings().person_parameters)
RULES = Rules(trusted=(ip_network("10.0.0.0/8"),), person_parameters=PERSON, pod="10.1.2.3")
CHROME_IMAGE = b"image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
CHROME_PAGE = b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
FIREFOX_IMAGE = b"image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"


def request(path: bytes = b"/a", query: bytes = b"", *headers: tuple[bytes, bytes]) -> Request:
    return Request(path, query, headers, "8.8.8.8", 1_800_000_000_000)


@pytest.mark.parametrize("sample", EXAMPLES["samples"], ids=lambda sample: sample["name"])
def test_every_golden_sample_becomes_its_event(sample: dict[str, Any]) -> None:
    given_request = sample["request"]
    headers = [(name.encode(), value.encode("latin-1")) for name, value in given_request["headers"]]
    path, _, query = given_request["target"].encode().partition(b"?")
    received = Request(path, query, headers, given_request["peer"], sample["event"]["received_at_ms"])
    fields = header_fields(headers)
    body = given_request.get("body", "").encode()
    params = params_of_body(fields.get(b"content-type", b""), body) if given_request["method"] == "POST" else b""
    rules = Rules(trusted=RULES.trusted, person_parameters=PERSON, pod=sample["event"]["pod"])
    event = event_of_request(received, fields, rules, new_id=sample["event"]["id"], body_params=params)
    expected = sample["event"]
    for name in expected:
        value = getattr(event, name)
        assert (value.decode("latin-1") if isinstance(value, bytes) else value) == expected[name], name
    assert type_of_path(event.path) == sample["type"]
    assert base64.b64encode(encode_raw(event)).decode() == sample["entry"]


@given(
    path=st.binary(max_size=100).map(lambda tail: b"/" + tail),
    query=st.binary(max_size=200),
    headers=st.lists(
        st.tuples(
            st.sampled_from([b"host", b"user-agent", b"referer", b"dnt", b"sec-gpc", b"idempotency-key", b"forwarded"]),
            st.binary(max_size=50) | st.just(b"1"),
        )
    ),
    body=st.binary(max_size=50),
)
def test_any_request_becomes_a_decodable_event(
    path: bytes, query: bytes, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    received = Request(path, query, headers, "10.0.0.1", 1)
    event = event_of_request(received, header_fields(headers), RULES, new_id="new", body_params=body)
    assert decode_raw(encode_raw(event)) == event
    assert event.path == path
    assert event.opted_out or event.query.startswith(query)


@pytest.mark.parametrize("name", [b"sec-gpc", b"dnt"])
def test_event_has_no_personal_data_when_visitor_opts_out(name: bytes) -> None:
    headers = (
        (name, b"1"),
        (b"user-agent", b"secret-agent"),
        (b"referer", b"https://shop.example/p?uid=secret#secret"),
    )
    received = request(b"/a", b"di=secret&x=1&%75id=secret&userId=secret&y&B%59=secret&x=2", *headers)
    event = event_of_request(received, header_fields(headers), RULES, new_id="new")
    assert event.opted_out
    assert (event.address, event.user_agent, event.query) == ("", b"", b"x=1&y&x=2")
    assert event.referrer == b"https://shop.example/p"
    assert b"secret" not in encode_raw(event)


def test_address_is_erased_in_every_field_when_visitor_opts_out() -> None:
    headers = (
        (b"sec-gpc", b"1"),
        (b"referer", b"https://8.8.8.8/p"),
        (b"host", b"8-8-8-8.isp.example"),
        (b"idempotency-key", b"8.8.8.8"),
    )
    received = request(b"/from/8.8.8.8/view%3Femail=secret", b"ip=134744072&hex=08080808&other=8.8.4.4", *headers)
    event = event_of_request(received, header_fields(headers), RULES, new_id="new")
    assert event.query == b"ip=000000000&hex=00000000&other=8.8.4.4"
    assert (event.path, event.referrer) == (b"/from/0.0.0.0/view", b"https://0.0.0.0/p")
    assert (event.host, len(event.id)) == (b"0-0-0-0.isp.example", 32)
    assert b"8.8.8.8" not in encode_raw(event)


def test_event_of_batch_reads_address_exactly_only_within_its_budget() -> None:
    sender = sender_of(request(b"/a", b"", (b"dnt", b"1")), {b"dnt": b"1"}, RULES)
    entry = Entry(b"/a", b"a=8.8.8.8&b=8.8.4.8.8&" + b"c" * 8000, None, None)
    budget = Budget()
    queries = [
        event_of_batch_entry(entry, sender, RULES, received_at_ms=1, new_id="new", budget=budget)[0].query
        for _ in range(100)
    ]
    assert queries[0].startswith(b"a=0.0.0.0&b=8.8.4.8.8&")
    assert queries[-1].startswith(b"a=0000000&b=")
    assert all(b"8.8.8.8" not in query for query in queries)


@pytest.mark.parametrize(
    ("target_bytes", "fields", "expected"),
    [
        (8192, {}, False),
        (8193, {}, True),
        (8000, {b"referer": b"r" * 100, b"host": b"h" * 100}, True),
        (100, {b"user-agent": b"u" * 9000}, False),
    ],
)
def test_request_is_long_by_the_bytes_to_clean(target_bytes: int, fields: dict[bytes, bytes], expected: bool) -> None:  # noqa: FBT001
    assert is_long(target_bytes, fields) is expected


def test_context_is_removed_without_opt_out() -> None:
    received = request(b"/v1/t", b"a=1&context[ip]=203.0.113.7&userId=u-1")
    event = event_of_request(received, {}, RULES, new_id="new", body_params=b'context={"ip":"203.0.113.7"}&b=2')
    assert event.query == b"a=1&userId=u-1&b=2"
    entry = Entry(b"/track", b'x=1&context={"ip":"203.0.113.7"}&p={"context":{"ip":"203.0.113.7"},"y":2}', None, None)
    event, _ = event_of_batch_entry(entry, sender_of(received, {}, RULES), RULES, received_at_ms=1, new_id="new")
    assert event.query == b'x=1&p={"y":2}'


@pytest.mark.parametrize("values", [(b"0", b"1"), (b"1", b"0"), (b"0, 1",), (b"1,0",), (b"", b"0", b"1")])
@pytest.mark.parametrize("name", [b"sec-gpc", b"dnt"])
def test_visitor_opts_out_when_one_of_several_values_is_1(name: bytes, values: tuple[bytes, ...]) -> None:
    headers = [(name, value) for value in values]
    assert sender_of(request(b"/a", b"", *headers), header_fields(headers), RULES).opted_out


@pytest.mark.parametrize("values", [(b"0", b"0"), (b"10", b"11"), (b"1;q=0",), (b"",)])
def test_visitor_does_not_opt_out_when_no_value_is_1(values: tuple[bytes, ...]) -> None:
    headers = [(b"dnt", value) for value in values]
    assert not sender_of(request(b"/a", b"", *headers), header_fields(headers), RULES).opted_out


def test_opt_out_is_ignored_when_disabled_or_header_is_0() -> None:
    headers = ((b"dnt", b"1"),)
    rules = Rules(honour_opt_out=False)
    assert not sender_of(request(b"/a", b"", *headers), header_fields(headers), rules).opted_out
    assert not sender_of(request(b"/a", b"", (b"dnt", b"0")), {b"dnt": b"0"}, RULES).opted_out


@pytest.mark.parametrize(
    ("text", "event_id"),
    [
        ("abc", "abc"),
        ('"abc"', "abc"),
        (" abc ", "abc"),
        ("x" * 128, "x" * 128),
        ("x" * 129, None),
        ("", None),
        ('""', None),
        ("a\nb", None),
        (chr(0xD800), None),
        ("�", None),
    ],
)
def test_client_id_is_valid_only_when_short_and_printable(text: str, event_id: str | None) -> None:
    assert client_id(text) == event_id


def test_invalid_id_is_replaced() -> None:
    headers = ((b"idempotency-key", b"\xff\x00"),)
    assert event_of_request(request(b"/a", b"", *headers), header_fields(headers), RULES, new_id="new").id == "new"


def test_batch_entry_with_invalid_id_is_stored_with_a_note() -> None:
    sender = sender_of(request(), {}, RULES)
    entry = Entry(b"/a", b"", "x" * 200, None)
    event, notes = event_of_batch_entry(entry, sender, RULES, received_at_ms=1, new_id="new")
    assert event.id == "new"
    assert "id replaced" in notes[0]


@pytest.mark.parametrize(
    ("path", "accept", "image"),
    [
        (b"/a.gif", b"", True),
        (b"/a.PNG", b"application/json", True),
        (b"/a.jpg", b"*/*", False),
        (b"/a", b"", False),
        (b"/a", b"*/*", False),
        (b"/a", CHROME_IMAGE, True),
        (b"/a", FIREFOX_IMAGE, True),
        (b"/a", CHROME_PAGE, False),
        (b"/a", b"image/gif", True),
        (b"/a", b"application/json,image/gif", False),
        (b"/a", b"image/gif;q=0", False),
        (b"/a", b"image/gif;q=\xff,*/*;q=0.1", False),
        (b"/a", b"image/gif;q=0.5, application/json;q=0.4", True),
    ],
)
def test_response_is_an_image_when_client_prefers_one(path: bytes, accept: bytes, image: bool) -> None:  # noqa: FBT001
    assert wants_image(path, accept) is image


@given(st.binary(max_size=600))
def test_any_accept_header_is_handled(accept: bytes) -> None:
    assert wants_image(b"/a", accept) in (True, False)
