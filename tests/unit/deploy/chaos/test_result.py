import io

import pytest
from rich.console import Console

from deploy.chaos.result import ChaosResult, result_table

WELL = ChaosResult(
    seed=7,
    acknowledged=100,
    lost=0,
    duplicates=3,
    dead=1,
    refused_503=5,
    broken=2,
    unexpected=0,
    accepted=104,
    produced=103,
    waiting=0,
    unaccounted=0,
    unconfirmed=0,
    unique=101,
    counted=101,
    drained=True,
    longest_drain_s=1.5,
    faults={"kill tracker": 2},
    skipped={"clock step": "there is no faketime."},
    died=(),
    seconds=60.0,
)


def test_run_without_losses_has_exit_code_0() -> None:
    assert (WELL.complaints, WELL.exit_code) == ([], 0)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"lost": 2}, "2 acknowledged events are lost"),
        ({"unaccounted": -1}, "the ledger does not balance: -1 unaccounted for"),
        ({"unconfirmed": 4}, "4 events are in the ledger and not in Kafka"),
        ({"waiting": 1}, "1 events are still in the queue"),
        ({"drained": False}, "the system did not drain in time"),
        ({"counted": 100}, "event_counter counted 100, and the topic holds 101 ids"),
        ({"counted": 104}, "event_counter counted 104, and the topic holds 101 ids"),
        ({"unexpected": 1}, "1 responses were neither 2xx nor 503"),
        ({"died": ("tracker-1 ended by itself",)}, "tracker-1 ended by itself"),
    ],
)
def test_each_failure_is_reported_with_exit_code_1(change: dict[str, object], complaint: str) -> None:
    result = WELL._replace(**change)  # type: ignore[arg-type]  # one field each
    assert result.complaints == [complaint]
    assert result.exit_code == 1


def test_table_shows_every_number_and_fault() -> None:
    text = io.StringIO()
    Console(file=text, width=100).print(result_table(WELL))
    for name in WELL._fields:
        assert name in text.getvalue()
    assert "kill tracker: 2" in text.getvalue()
    assert "clock step: there is no faketime." in text.getvalue()
