from collections import defaultdict

import pytest

from services.backbone.events import Event, Location, encode_event, split_event
from services.consumers.core import LABEL_MAX_CHARS
from services.consumers.handlers.metadata_counter import count


def labels(value: bytes) -> set[str]:
    counts: defaultdict[str, int] = defaultdict(int)
    count(split_event(value), counts, 0)
    assert sum(counts.values()) == 3
    return set(counts)


def event(*, pod: str = "", address: str = "", country: str = "XX") -> bytes:
    return encode_event(
        Event(
            type="t", id="1", received_at_ms=1, queue_delay_ms=1, pod=pod, address=address, location=Location(country)
        )
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            event(pod="10.1.2.3", address="c0000200", country="DE"),
            {"(p) 10.1.2.3", "(c) 192.0.2.0", "(l) DE"},
        ),
        (event(pod="fd00::1", address=f"{0x20010DB8 << 96:032x}"), {"(p) fd00::1", "(c) 2001:db8::", "(l) XX"}),
        (event(), {"(p) none", "(c) none", "(l) XX"}),
        (b"t what=ever -", {"(p) none", "(c) none", "(l) XX"}),
    ],
)
def test_event_counts_once_by_pod_by_address_and_by_country(value: bytes, expected: set[str]) -> None:
    assert labels(value) == expected


def test_long_value_is_truncated() -> None:
    assert f"(p) {'p' * (LABEL_MAX_CHARS - 5)}…" in labels(event(pod="p" * 5000))
