import pytest
from rich.console import Console

from deploy.bench.results import Round
from deploy.bench.rounds import BRIEF, Effort, in_turns, parse_effort
from deploy.errors import OperatorError


def test_contenders_run_their_rounds_alternately() -> None:
    order: list[str] = []

    def contender(name: str) -> Round:
        order.append(name)
        return Round(rate=float(len(order)))

    found = in_turns({name: lambda _, name=name: contender(name) for name in "ABC"}, Effort(2, 1.0), Console())  # type: ignore[misc]
    assert order == ["A", "B", "C", "A", "B", "C"]
    assert [each.rate for each in found["B"]] == [2.0, 5.0]


def test_brief_is_one_short_round_and_overrides_other_flags() -> None:
    assert parse_effort(rounds="9", seconds="9", brief=True) == BRIEF
    assert BRIEF.is_brief
    assert not Effort().is_brief


@pytest.mark.parametrize(("rounds", "seconds"), [("0", "5"), ("x", "5"), ("5", "0.1"), ("5", "nan"), ("1000", "5")])
def test_rounds_and_seconds_out_of_range_are_rejected_with_the_range(rounds: str, seconds: str) -> None:
    with pytest.raises(OperatorError, match="--rounds"):
        parse_effort(rounds=rounds, seconds=seconds, brief=False)
