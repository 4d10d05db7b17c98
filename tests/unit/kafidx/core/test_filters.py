import json
import time
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.backbone.events import Device, Event, Location, encode_event, encode_params
from services.kafidx.core.events import LiveEvent
from services.kafidx.core.query import MAX_CHARS, MAX_CONDITIONS, BadQuery, View, parse_view


def live(value: bytes, partition: int = 0, offset: int = 0) -> LiveEvent:
    return LiveEvent("events", partition, offset, 1_764_000_000_000, value)


def an_event(event_type: str = "view", params: str = "", **changed: object) -> LiveEvent:
    fields: dict[str, object] = {"type": event_type, "id": "1", "received_at_ms": 1000, "queue_delay_ms": 5}
    return live(encode_event(Event(**(fields | {"params": params} | changed))))  # type: ignore[arg-type]


def shows(event: LiveEvent, **query: str | list[str]) -> bool:
    return parse_view(urlencode(query, doseq=True)).filter.matches(event)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("klag = 5", True),
        ("klag=5", True),
        (" klag  =  5 ", True),
        ("klag != 5", False),
        ("klag > 4.5", True),
        ("klag > 5", False),
        ("klag < 6", True),
        ("city = berlin", True),
        ("city ~ ERL", True),
        ("city ~ xyz", False),
        ("city > 3", False),
        ("cts > 0", False),
        ("cts != 0", True),
        ("type = View", True),
        ("partition = 0", True),
        ("offset < 1", True),
        ("q = city bike", True),
        ("params.q ~ bike", True),
        ("params.q != other", False),
        ("params.q != third", True),
        ("price > 9", True),
        ("price > 11", False),
        ("params.klag = 77", True),
        ("meta.klag = 5", True),
        ("sw[latitude] < 52.6", True),
        ("ip = 203.0.113.0", True),
        ("empty = ", True),
        ("absent = ", False),
        ("q ~ a=b", False),
    ],
)
def test_condition_compares_meta_keys_and_parameters(condition: str, *, expected: bool) -> None:
    event = an_event(
        params="q=City+Bike&q=other&price=10&klag=77&sw%5Blatitude%5D=52.5&empty=",
        location=Location("DE", "Berlin"),
        address="cb007100",
    )
    assert shows(event, where=condition) is expected


def test_filter_requires_every_parameter_and_any_of_its_choices() -> None:
    event = an_event("offr", "kw=Fahrrad%20Kreuzberg", location=Location("DE", "Berlin"), device=Device("phone"))
    assert shows(event, type="view,offr", device="phone,tv", country="de", bot="no", partition="0,1", text="KREUZ")
    assert not shows(event, type="view,offr", device="tv")
    assert not shows(event, bot="yes")
    assert not shows(event, partition="1")
    assert not shows(event, text="kreuzberg fahrrad")
    assert shows(event, where=["kw ~ fahrrad", "country = de"])
    assert not shows(event, where=["kw ~ fahrrad", "country = at"])


def test_event_is_a_bot_by_its_device_or_by_its_bot_name() -> None:
    assert shows(an_event(device=Device("bot")), bot="yes")
    assert shows(an_event(device=Device("other", bot_name="Crawler")), bot="yes")
    assert shows(an_event(device=Device("desktop")), bot="no")


texts = st.text(max_size=60)
queries = st.lists(
    st.tuples(
        st.sampled_from(
            (
                "type",
                "filter",
                "device",
                "country",
                "bot",
                "partition",
                "text",
                "where",
                "from",
                "gid",
                "reset",
                "other",
            )
        ),
        st.one_of(
            texts,
            st.builds("{} {} {}".format, texts, st.sampled_from(("=", "!=", "~", ">", "<", "")), texts),
            st.sampled_from(("phone", "DE", "yes", "0", "end", "last:5", "offset:0:1", "time:1", "kafidx-00000-1")),
        ),
    ),
    max_size=8,
)


def parsed_or_refused(query: list[tuple[str, str]]) -> View | None:
    try:
        return parse_view(urlencode(query))
    except BadQuery as refused:
        error = refused
    assert error.reason
    assert error.parameter in {name for name, _ in query}
    assert error.position is None or error.position >= 0
    assert error.value is None or 0 <= (error.position or 0) <= len(error.value)
    return None


@settings(max_examples=400, deadline=None)
@given(queries, st.binary(max_size=300), texts, texts)
def test_any_query_is_parsed_or_refused_and_matches_any_record_without_an_error(
    query: list[tuple[str, str]], value: bytes, key: str, text: str
) -> None:
    view = parsed_or_refused(query)
    if view is None:
        return
    params = encode_params(urlencode({key: text}).encode())
    for event in (live(value), an_event(params=params)):
        assert view.filter.matches(event) in (True, False)
        row = json.loads(event.queued_row.row)
        assert row["p"] == 0


@given(texts, texts.filter(lambda text: text == text.strip()))
def test_equals_condition_finds_any_text_that_was_sent(name: str, text: str) -> None:
    event = an_event(params=urlencode([("k", text), ("n", name)]))
    assert shows(event, where=f"params.k = {text}")
    assert not shows(event, where=f"params.k != {text}")
    if text:
        assert shows(event, where=f"params.k ~ {text}")
        assert shows(event, text=text)


HOSTILE = {
    "many parameters": "&".join(f"%61{number}=%62" for number in range(60_000)),
    "many ampersands": "&" * 800_000,
    "escapes only": "x=" + "%61" * 250_000,
    "almost the text": "x=" + "a" * 800_000,
    "one long name": "a" * 800_000,
    "many repeats": "x=" + "&x=".join(["a" * 30] * 20_000),
}


@pytest.mark.parametrize("params", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("meta", ["id=1&ts=1&klag=1", "id=1&ref=" + "%61" * 20_000, "&a=b" * 20_000])
def test_one_event_takes_under_5_ms_for_any_content(params: str, meta: str) -> None:
    almost = "a" * (MAX_CHARS - 1) + "b"
    conditions = [f"x ~ {almost}", f"ref ~ {almost}", "x > 5", f"y != {almost}"] * (MAX_CONDITIONS // 4)
    view = parse_view(urlencode({"text": almost, "where": conditions, "country": "XX", "bot": "no"}, doseq=True))
    unconditional = parse_view(urlencode({"text": almost}))
    value = f"view {meta}&country=XX {params}".encode()

    def evaluate() -> float:
        event = live(value)
        started_s = time.thread_time()
        view.filter.matches(event)
        unconditional.filter.matches(event)
        _ = event.queued_row
        for condition in view.filter.conditions:
            condition.matches(event)
        return time.thread_time() - started_s

    # The fastest of five runs: other processes on the machine slow single runs down.
    assert min(evaluate() for _ in range(5)) < 0.005


def test_parameter_after_the_filtered_bytes_is_not_found() -> None:
    event = an_event(params="a=1&" + "x" * 20_000 + "&late=1")
    assert shows(event, where="a = 1")
    assert not shows(event, where="late = 1")
