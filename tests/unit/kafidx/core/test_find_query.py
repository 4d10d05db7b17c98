import contextlib
import json
import shlex
import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils import uuid7

from services.backbone.events import encode_params, type_of_path
from services.backbone.search import MOST_TARGETS, Target
from services.kafidx.core.find_query import MAX_CHARS, parse_find, time_of_id
from services.kafidx.core.query import BadQuery
from services.tracker.core import params_of_body

URL = "http://127.0.0.1:5222"


def target(text: str) -> Target:
    [found] = parse_find(text).targets
    return found


@pytest.mark.parametrize("text", ["order-17", "a b", "ü", "'", "<b>", "curl", "-H", "x" * 128])
def test_text_is_an_id(text: str) -> None:
    assert target(f" {text}\n") == Target(id=text)


@pytest.mark.parametrize("text", ["", " \n", "x" * 129, "a\x00b", "a\nb", "\ufffd", "x" * (MAX_CHARS + 1)])
def test_text_that_is_not_an_id_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(BadQuery, match=r"id of (an|the) event|an id has 1 to 128 printable characters"):
        parse_find(text)


@pytest.mark.parametrize(
    "line",
    [
        f"curl -H 'Idempotency-Key: order-17' {URL}/order",
        f'curl -sS -H "idempotency-key:order-17" -XPOST {URL}/order',
        f"curl '{URL}/order?a=1' \\\n  -H 'accept: */*' \\\n  -H 'Idempotency-Key: \"order-17\"' --compressed",
        f"curl --header='x' -HIdempotency-Key:\\ order-17 --data-raw '@a=1' {URL}/order | jq .",
        f"curl --url {URL}/o -H 'Idempotency-Key: order-17' -H 'Idempotency-Key: other' -o /dev/null",
    ],
)
def test_idempotency_key_of_a_curl_line_is_the_id(line: str) -> None:
    assert target(line) == Target(id="order-17")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("/shop/view.gif?di=7&q=%C3%BC", Target(type="view", params="di=7&q=%C3%BC")),
        ("", Target(type="/")),
        ("/a/b%20c/#part", Target(type="b c")),
        ("/offr?x=1 -d a=1 -d 'b=2 3'", Target(type="offr", params="x=1&a=1&b=2%203")),
        ("/offr --data-urlencode 'q=a b&c'", Target(type="offr", params="q=a+b%26c")),
        ("/offr -G -d a=1", Target(type="offr", params="a=1")),
        ('/offr --json \'{"a":"b c","n":null,"l":[1,2]}\'', Target(type="offr", params="a=b%20c&n=&l=[1,2]")),
        ("/leave -H 'Content-Type: text/plain' -d 'stayed 17 s'", Target(type="leave", params="text=stayed%2017%20s")),
        ("/offr -F title=bike -F photo=@bike.jpg -F 'b=1&2'", Target(type="offr", params="title=bike&b=1%262")),
        ("/offr -X GET -d a=1", Target(type="offr")),
        ("/offr -I", Target(type="offr")),
    ],
)
def test_curl_line_without_an_id_gives_type_and_parameters(words: str, expected: Target) -> None:
    path, _, options = words.partition(" ")
    found = parse_find(f"curl '{URL}{path}' {options}")
    assert found.targets == (expected,)
    assert "no id" in found.notes[0]


@given(
    st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=8) | st.integers() | st.none(), max_size=4),
    st.text("abcü /%", max_size=8),
)
def test_parameters_of_a_json_body_are_those_of_the_tracker(members: dict[str, object], query: str) -> None:
    body = json.dumps(members)
    line = f"curl {shlex.quote(f'{URL}/x/offr?{encode_params(query.encode())}')} --json {shlex.quote(body)}"
    if len(line) > MAX_CHARS or "id" in members:
        return
    received = [encode_params(query.encode()).encode(), params_of_body(b"application/json", body.encode())]
    stored = b"&".join(part for part in received if part)
    expected = "" if not stored else encode_params(stored)
    assert target(line) == Target(type=type_of_path(b"/x/offr"), params=expected)


@pytest.mark.parametrize(
    "body",
    [
        '[{"type":"view","id":"e-1"},{"type":"view","id":"e-2"}]',
        '{"events":[{"type":"view","id":"e-1"},{"event":"view","messageId":"e-2"}]}',
        '{"batch":[{"type":"track","event":"view","messageId":"e-1"},{"type":"page","messageId":"e-2"}]}',
        '{"type":"view","id":"e-1"}\n{"type":"view","id":"e-2"}',
    ],
)
def test_ids_of_a_batch_are_the_targets(body: str) -> None:
    found = parse_find(f"curl {URL}/batch -d {shlex.quote(body)}")
    assert found.targets == (Target(id="e-1"), Target(id="e-2"))
    assert found.notes == ()


def test_batch_notes_entries_without_an_id_and_ids_over_the_limit() -> None:
    entries: list[dict[str, object]] = [{"type": "view", "id": f"e-{number}"} for number in range(MOST_TARGETS + 5)]
    found = parse_find(f"curl {URL}/batch -d '{json.dumps([*entries, {'type': 'view'}])}'")
    assert len(found.targets) == MOST_TARGETS
    assert any("1 of 26 entries" in note for note in found.notes)
    assert any("only the first 20" in note for note in found.notes)
    with pytest.raises(BadQuery, match="none of its 1 entries has a valid id"):
        parse_find(f'curl {URL}/batch -d \'[{{"type":"view"}}]\'')


def test_invalid_idempotency_key_and_opt_out_are_noted() -> None:
    found = parse_find(f"curl -H 'Idempotency-Key: {'x' * 129}' -H 'DNT: 1' {URL}/view")
    assert found.targets == (Target(type="view"),)
    assert any("Idempotency-Key is invalid" in note for note in found.notes)
    assert any("opted out" in note for note in found.notes)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"curl '{URL}/view", "Close each quotation mark"),
        ("curl -s", "has no URL"),
        (f"curl -d @body.json {URL}/view", "in a file"),
        (f"curl -T body.json {URL}/view", "file"),
        (f"curl '{URL}/ü'", "Percent-encode"),
        ("curl 'http://[::1/view'", "URL is invalid"),
        (f"curl -H 'Content-Type: application/pdf' -d x {URL}/view", "Content-Type is not supported"),
        (f"curl -H 'Content-Encoding: gzip' -d x {URL}/view", "compressed"),
        (f"curl --json '[1' {URL}/view", "not valid JSON"),
    ],
)
def test_curl_line_that_cannot_be_searched_is_refused_with_the_reason(line: str, reason: str) -> None:
    with pytest.raises(BadQuery, match=reason):
        parse_find(line)


@given(st.text(max_size=300))
def test_any_curl_line_is_parsed_or_refused(rest: str) -> None:
    try:
        found = parse_find(f"curl {rest}")
    except BadQuery:
        return
    assert 0 < len(found.targets) <= MOST_TARGETS


def test_longest_curl_line_is_parsed_in_time() -> None:
    begin = time.perf_counter()
    for filler in ("a ", "'a' ", "-d a ", "\\\n", '"'):
        with contextlib.suppress(BadQuery):
            parse_find(f"curl {URL} ".ljust(MAX_CHARS // 2) + filler * (MAX_CHARS // 2 // len(filler)))
    assert time.perf_counter() - begin < 2


def test_time_of_an_id_is_that_of_a_version_7() -> None:
    now_ms = time.time_ns() // 1_000_000
    assert abs((time_of_id(str(uuid7())) or 0) - now_ms) < 1000
    assert time_of_id(str(uuid.uuid4())) is None
    assert time_of_id("order-17") is None
    assert time_of_id("") is None
