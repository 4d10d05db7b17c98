from collections import defaultdict

import pytest

from services.backbone.events import encode_params, encode_type, split_event
from services.consumers.core import LABEL_MAX_CHARS
from services.consumers.handlers.event_counter import count


def label(event_type: str, query: bytes = b"") -> str:
    counts: defaultdict[str, int] = defaultdict(int)
    value = f"{encode_type(event_type)} id=1&ts=1&klag=0 {encode_params(query) or '-'}".encode()
    count(split_event(value), counts, 0)
    [(name, number)] = counts.items()
    assert number == 1
    return name


@pytest.mark.parametrize(
    ("event_type", "query", "expected"),
    [
        ("open", b"", "open"),
        ("open", b"a=1&b=2", "open"),
        ("offr", b"action=create&_id=4", "offr[create]"),
        ("offr", b"_id=4&action=set%20act", "offr[set act]"),
        ("offr", b"%61ction=create", "offr[create]"),
        ("offr", b"%61%63%74%69%6f%6e=create", "offr[create]"),
        ("offr", b"action=", "offr"),
        ("offr", b"action", "offr"),
        ("offr", b"reaction=5&x=action=3", "offr"),
        ("offr", b"action=one&action=two", "offr[one]"),
        ("two words 100%", b"", "two words 100%"),
        ("größe", b"action=\xc3\xa4", "größe[ä]"),
        ("/", b"", "/"),
    ],
)
def test_event_counts_by_type_and_by_action_when_present(event_type: str, query: bytes, expected: str) -> None:
    assert label(event_type, query) == expected


def test_long_type_and_action_are_truncated() -> None:
    assert label("t" * 10_000) == "t" * (LABEL_MAX_CHARS - 1) + "…"
    assert label("offr", b"action=" + b"a" * 10_000) == "offr[" + "a" * (LABEL_MAX_CHARS - 6) + "…"
