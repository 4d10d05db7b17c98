from types import SimpleNamespace

import pytest

from deploy.errors import OperatorError
from deploy.operate.dead_letters import (
    DeadLetterFilter,
    DeadLetterSummary,
    _dead_letter,
    parse_filter,
    parse_time,
    readable_time,
)

NOW_MS = 1_764_000_000_000


def summary(offset: int = 0, **changes: object) -> DeadLetterSummary:
    letter = DeadLetterSummary(
        0, offset, NOW_MS, "decode", "malformed entry", "1", "view", "e1", 10, b"digest", b"content"
    )
    return letter._replace(**changes)  # type: ignore[arg-type]  # the fields that a test passes


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("90s", NOW_MS - 90_000),
        ("30m", NOW_MS - 1_800_000),
        ("2h", NOW_MS - 7_200_000),
        ("7d", NOW_MS - 604_800_000),
        ("2025-11-24T16:00:00Z", NOW_MS),
        ("2025-11-24T17:00:00+01:00", NOW_MS),
        ("2025-11-24T16:00:00.250Z", NOW_MS + 250),
    ],
)
def test_time_is_parsed_from_rfc_3339_or_an_age(text: str, time_ms: int) -> None:
    assert parse_time("--since", text, now_ms=NOW_MS) == time_ms


@pytest.mark.parametrize("text", ["yesterday", "2025-11-24", "2025-11-24T16:00:00", "5", "-1h", "2w", "9999999999d"])
def test_invalid_time_is_rejected_with_the_allowed_forms(text: str) -> None:
    with pytest.raises(OperatorError, match=r"--until: invalid time"):
        parse_time("--until", text, now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        (DeadLetterFilter(), True),
        (DeadLetterFilter(since_ms=NOW_MS), True),
        (DeadLetterFilter(since_ms=NOW_MS + 1), False),
        (DeadLetterFilter(until_ms=NOW_MS), False),
        (DeadLetterFilter(until_ms=NOW_MS + 1), True),
        (DeadLetterFilter(reason="formed"), True),
        (DeadLetterFilter(reason="too large"), False),
        (DeadLetterFilter(type="view"), True),
        (DeadLetterFilter(type="vie"), False),
    ],
)
def test_filter_matches_time_part_of_the_reason_and_exact_type(wanted: DeadLetterFilter, meant: bool) -> None:  # noqa: FBT001 - a case
    assert wanted.has(summary()) is meant


def test_empty_filter_matches_all_dead_letters() -> None:
    assert parse_filter(since="", until="", reason="", event_type="") == DeadLetterFilter()
    wanted = parse_filter(since="1h", until="10s", reason="r", event_type="t", now_ms=NOW_MS)
    assert wanted == DeadLetterFilter(NOW_MS - 3_600_000, NOW_MS - 10_000, "r", "t")


def test_time_is_formatted_in_utc_or_as_a_number_outside_the_calendar() -> None:
    assert readable_time(NOW_MS) == "2025-11-24T16:00:00Z"
    assert readable_time(2**62) == str(2**62)


def test_truncated_letter_is_recognised_by_its_reason() -> None:
    assert summary(reason="record is too large for the topic (cut from 2000001 bytes)").is_cut
    assert not summary(reason="(cut from 1 bytes) is what somebody sent").is_cut


def test_letter_keeps_null_headers_for_a_rewrite() -> None:
    headers = (("stage", None), ("x", b""), ("stage", b"decode"))
    letter = _dead_letter(0, SimpleNamespace(offset=3, timestamp=-5, key=None, value=None, headers=headers))
    assert letter.record.headers == headers
    assert (letter.summary.stage, letter.summary.time_ms, letter.entry) == ("decode", -5, b"")
