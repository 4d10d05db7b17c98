"""Operators, NULs, surrogates, huge numbers and deep JSON in any field and parameter are values or a 422."""

import json
import math
from typing import Any, Final
from urllib.parse import quote, quote_from_bytes

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.storage.api.serving import DEVICE, SERVICE, offer

FIELDS: Final = (
    *("_id", "owner", "text", "keywords", "location", "radiusMeters", "place", "showLocation", "allowContacts"),
    *("isMobile", "isActive", "trusted", "images", "extdata", "validfrom", "validuntil", "created", "version"),
    *("$set", "$where", "a.b", "", "\x00", "__proto__", "keys", "public_location", "due_at", "owed"),
)
PARAMETERS: Final = (
    *("keywords[]", "keywords", "keywords[0]", "owner", "not_owner", "_id", "is_active", "trusted", "limit", "page"),
    *("next", "sw[latitude]", "ne[longitude]", "center[latitude]", "center[longitude]", "radius", "return"),
    *("owner[$ne]", "$where", "di", "lt", "lg", "a", "ts"),
)
TEXTS: Final = (
    *("$where", "$owner", "$$ROOT", '{"$ne": null}', "a.b", "a\x00b", "\x00", "\ud800", "\U0010ffff", "%00", "%24"),
    *("[^q]", "(a+)+$", "NaN", "-Infinity", "1e999", "9" * 400, "x" * 20_000, "İ" * 60, "\u0301" * 300, "../../etc"),
)


def deep(levels: int) -> Any:
    value: Any = "x"
    for level in range(levels):
        value = {"a": value} if level % 2 else [value]
    return value


OPERATORS: Final[tuple[dict[str, Any], ...]] = (
    {"$ne": None},
    {"$gt": ""},
    {"$where": "sleep(1000)"},
    {"$regex": ".*"},
    {"$in": []},
    {"$ref": "offers", "$id": 1},
    {"$oid": "0" * 24},
    {"$numberDouble": "NaN"},
    {"a.b": {"$set": 1}, "\x00": 1, "": {"": ""}},
)
NUMBERS: Final = (2**63, -(2**63) - 1, 10**400, -0.0, 1e308, -1e308, 5e-324, math.nan, math.inf, True)
VALUES: Final = st.one_of(
    st.sampled_from(OPERATORS),
    st.sampled_from(TEXTS),
    st.sampled_from(NUMBERS),
    st.sampled_from([None, [], {}, deep(19), deep(25), deep(300)]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(OPERATORS),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
)
WRAPPED: Final = st.builds(
    lambda value, shape: {"plain": value, "list": [value], "point": {"type": "Point", "coordinates": [value, value]}}[
        shape
    ],
    VALUES,
    st.sampled_from(["plain", "list", "point"]),
)
SEND: Final = settings(max_examples=30, database=None, suppress_health_check=list(HealthCheck))
ALLOWED: Final = frozenset({200, 201, 400, 404, 409, 413, 422})


@pytest.fixture
def client(running: dict[str, str]) -> Any:
    with httpx.Client(base_url=f"http://127.0.0.1:{running['STORAGE_PORT']}", auth=SERVICE, timeout=30.0) as found:
        yield found


def canary(client: httpx.Client) -> str:
    """Return the path of an object that no request may change."""
    return f"/offers/{client.post('/offers', json=offer('canary')).json()['_id']}?owner=canary"


def test_any_value_in_a_field_is_a_value_or_a_422(client: httpx.Client) -> None:
    kept = canary(client)
    before = client.get(kept).json()
    changed_path = f"/offers/{client.post('/offers', json=offer()).json()['_id']}"

    @SEND
    @given(st.sampled_from(FIELDS), WRAPPED)
    def send(field: str, value: Any) -> None:
        body = json.dumps(offer() | {field: value})  # with NaN, and with lone surrogates as escapes
        headers = {"Content-Type": "application/json"}
        created = client.post("/offers", content=body, headers=headers)
        assert created.status_code in ALLOWED, created.text
        if created.status_code == 200 and field in ("text", "owner", "extdata", "place") and value is not None:
            assert created.json()[field] == value
            read = client.get(f"/offers/{created.json()['_id']}", params={"owner": created.json()["owner"]})
            assert read.json()["data"][0][field] == value
        for method, path, sent in (
            ("PUT", changed_path, json.dumps({field: value})),
            ("POST", "/bulk/offers", json.dumps({"new_offers": [value, {field: value}], "old_offers": [value]})),
            ("POST", "/bulk/offers", json.dumps({"old_offers": [{"_id": changed_path[-24:], field: value}]})),
            ("POST", "/channels", json.dumps({"searchid": value, "offerid": value, "url": value, field: value})),
            ("POST", "/store/geo", json.dumps({"di": DEVICE, "lt": 1, "lg": value, "a": value, "ts": value})),
            ("POST", "/searches", json.dumps(value)),
        ):
            response = client.request(method, path, content=sent, headers=headers)
            assert response.status_code in ALLOWED, (method, path, response.text)

    send()
    assert client.get(kept).json() == before


def test_any_value_in_a_parameter_or_path_is_a_value_or_a_422(client: httpx.Client) -> None:
    kept = canary(client)
    before = client.get(kept).json()

    @SEND
    @given(st.sampled_from(PARAMETERS), st.sampled_from(TEXTS) | st.text(max_size=20) | st.binary(max_size=8))
    def send(name: str, value: str | bytes) -> None:
        raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
        quoted = quote_from_bytes(raw, safe="")
        named = quote(name)
        region = "center[latitude]=52.5&center[longitude]=13.4&radius=10&"
        for method, path in (
            ("GET", f"/offers?{named}={quoted}"),
            ("GET", f"/offers?{region}keywords[]={quoted}"),
            ("GET", f"/offers?{quoted}={quoted}"),
            ("GET", f"/offers/{quoted}"),
            ("GET", f"/bulk/offers/{quoted}?{named}={quoted}"),
            ("GET", f"/chat/byids?_id={quoted}"),
            ("GET", f"/channels/{quoted}/{quoted}"),
            ("POST", f"/store/geo?di={DEVICE}&lt=1&lg=1&{named}={quoted}"),
            ("PUT", f"/offers/{quoted}?return={quoted}"),
            ("POST", f"/offers/{quoted}/set_active/{quoted}"),
        ):
            response = client.request(method, path)
            assert response.status_code in ALLOWED | {405}, (method, path, response.text)

    send()
    assert client.get(kept).json() == before


def test_any_value_in_a_header_is_a_value_or_an_error_of_the_client(client: httpx.Client) -> None:
    path = canary(client)

    @SEND
    @given(st.sampled_from(["If-Match", "If-None-Match", "X-Device-Token", "Content-Type", "Origin"]), st.binary())
    def send(name: str, value: bytes) -> None:
        if any(byte < 32 or byte == 127 for byte in value):
            value = value.hex().encode()
        response = client.request("GET", path, headers=[(name.encode(), value.strip() or b"x")])
        assert response.status_code in (200, 304, 401), response.text

    send()
