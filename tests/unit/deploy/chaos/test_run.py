import pytest

from deploy.chaos.faults import FAULTS
from deploy.chaos.run import parse
from deploy.errors import OperatorError


def test_what_was_asked_can_be_asked_again() -> None:
    options = parse(minutes="0.5", seed="7", rate="60", only="")
    assert (options.minutes, options.seed, options.rate, tuple(options.faults)) == (0.5, 7, 60.0, FAULTS)
    assert options.again == "python3 tasks.py chaos --minutes 0.5 --seed 7 --rate 60"


def test_without_a_seed_one_is_drawn_and_told() -> None:
    options = parse(minutes="1", seed="", rate="60", only="redis away")
    assert options.again == f"python3 tasks.py chaos --minutes 1 --seed {options.seed} --rate 60 --only 'redis away'"
    assert [fault.name for fault in options.faults] == ["redis away"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"minutes": "0"}, "--minutes 0: it is a number more than 0"),
        ({"rate": "many"}, "--rate many: it is a number more than 0"),
        ({"seed": "x"}, "--seed x: it is a whole number"),
        ({"only": "earthquake"}, "--only earthquake: no fault is called so; there are kill tracker, "),
    ],
)
def test_what_cannot_be_played_is_refused(change: dict[str, str], message: str) -> None:
    with pytest.raises(OperatorError, match=message):
        parse(**({"minutes": "1", "seed": "1", "rate": "1", "only": ""} | change))
