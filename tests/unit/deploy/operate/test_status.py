import io
from collections.abc import Mapping

import pytest
from rich.console import Console

from deploy.operate.status import Status, as_json, render
from services.backbone.counters import Progress
from services.backbone.queue import Books

COUNTED = {"event_counter": Progress(90, 1_764_000_000_000), "timing_stats": Progress(70, 1_763_999_999_000, copies=3)}
TIMING = {"tsavg": 12.5, "tsavg p50": 9.0, "tsavg p95": 40.0, "tsavg p99": 1234.5, "totaleventsseen": 90}
LAG = {"event_counter": 5, "timing_stats": 25}


def status(ledger: Books, counted: Mapping[str, Progress] = COUNTED) -> Status:
    return Status(ledger=ledger, in_topic=95, counted=counted, lag={name: LAG[name] for name in counted})


def rendered(shown: Status, top_types: Mapping[str, int]) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(render(shown, top_types, TIMING))
    text = console.file.getvalue()  # type: ignore[attr-defined]  # the file above
    assert isinstance(text, str)
    return text


def test_counted_by_all_is_the_minimum_of_the_consumers() -> None:
    assert status(Books()).counted_by_all == 70
    assert status(Books(), counted={}).counted_by_all == 0
    assert status(Books()).passed_by_all == 73


def test_balanced_ledger_is_shown_as_balanced() -> None:
    shown = status(Books(accepted=100, produced=95, dead=1, listed=3, claimed=1))
    assert as_json(shown, {}, {})["ledger"] == {
        "accepted": 100, "produced": 95, "dead": 1, "waiting": 4, "balanced": True,
    }  # fmt: skip
    assert "accepted 100 = produced 95 + dead 1 + waiting 4  balanced" in rendered(shown, {})


def test_unaccounted_events_are_highlighted() -> None:
    shown = status(Books(accepted=100, produced=95))
    assert as_json(shown, {}, {})["ledger"]["balanced"] is False
    assert "5 UNACCOUNTED FOR" in rendered(shown, {})


def test_every_consumer_is_shown_with_its_lag() -> None:
    shown = status(Books())
    assert as_json(shown, {"view": 90}, TIMING)["counters"]["timing_stats"] == {
        "counted": 70, "duplicates": 3, "lag": 25, "last_received_ms": 1_763_999_999_000,
    }  # fmt: skip
    assert as_json(shown, {}, TIMING)["timing_ms"] == {
        "tsavg": 12.5, "tsavg p50": 9.0, "tsavg p95": 40.0, "tsavg p99": 1234.5,
    }  # fmt: skip
    text = rendered(shown, {"view": 90})
    (shown_row,) = [line.split() for line in text.splitlines() if "timing_stats" in line]
    assert shown_row == ["timing_stats", "70", "3", "25"]
    assert "receipt to counted" in text
    assert "1,234" in text
    assert "view" in text


def test_values_of_kafka_are_unknown_and_not_0_when_it_does_not_respond() -> None:
    shown = Status(Books(accepted=5, produced=5), None, COUNTED, dict.fromkeys(COUNTED), "Kafka does not answer at k:1")
    text = rendered(shown, {})
    assert "Kafka does not answer at k:1" in text
    assert [line.split()[-1] for line in text.splitlines() if "timing_stats" in line] == ["?"]
    assert as_json(shown, {}, {})["counters"]["timing_stats"]["lag"] is None
    assert shown.exit_code == 1


def test_records_beyond_the_ledger_are_shown() -> None:
    assert status(Books(accepted=90, produced=90)).duplicates == 5


@pytest.mark.parametrize(("ledger", "code"), [(Books(5, 5), 0), (Books(5, 4), 1)])
def test_exit_code_depends_on_the_balance_of_the_ledger(ledger: Books, code: int) -> None:
    assert status(ledger).exit_code == code


def test_label_with_markup_is_shown_as_text() -> None:
    assert "[bold red]x[/]" in rendered(status(Books()), {"[bold red]x[/]": 1})


def test_missing_consumers_are_reported() -> None:
    assert "no consumer has registered yet" in rendered(status(Books(), counted={}), {})
