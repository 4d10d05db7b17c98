from collections import defaultdict

import pytest

from services.backbone.events import encode_params, split_event
from services.consumers.core import LABEL_MAX_CHARS
from services.consumers.handlers.search_counter import count


def counted(event_type: str, query: bytes) -> dict[str, int]:
    counts: defaultdict[str, int] = defaultdict(int)
    count(split_event(f"{event_type} id=1 {encode_params(query) or '-'}".encode()), counts, 0)
    return counts


@pytest.mark.parametrize(
    ("query", "text"),
    [
        (b"action=preview&text=Red+sofa", "Red sofa"),
        (b"text=Red%20%20Sofa%21&action=preview", "Red  Sofa!"),
        (b"action=preview&text=caf\xc3\xa9", "café"),
        (b"action=preview&text=one&text=two", "one"),
    ],
)
def test_text_of_a_preview_counts_unchanged(query: bytes, text: str) -> None:
    assert counted("offr", query) == {text: 1}


@pytest.mark.parametrize(
    ("event_type", "query"),
    [
        ("offr", b""),
        ("offr", b"text=sofa"),
        ("offr", b"action=create&text=sofa"),
        ("offr", b"action=preview"),
        ("offr", b"action=preview&text="),
        ("offr", b"action=preview&text=+%09+"),
        ("srch", b"action=preview&text=sofa"),
    ],
)
def test_other_events_and_blank_texts_are_not_counted(event_type: str, query: bytes) -> None:
    assert counted(event_type, query) == {}


def test_long_text_is_truncated() -> None:
    assert counted("offr", b"action=preview&text=" + b"x" * 999) == {"x" * (LABEL_MAX_CHARS - 1) + "…": 1}
