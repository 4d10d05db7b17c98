import pytest

from deploy.chaos.faults import FAULTS
from deploy.chaos.run import parse
from deploy.errors import OperatorError


def test_options_contain_the_command_that_repeats_the_run() -> None:
    options = parse(minutes="0.5", seed="7", rate="60", only="")
    assert (options.minutes, options.seed, options.rate, tuple(options.faults)) == (0.5, 7, 60.0, FAULTS)
    assert options.again == "python3 tasks.py chaos --minutes 0.5 --seed 7 --rate 60"


def test_missing_seed_is_chosen_and_printed() -> None:
    options = parse(minutes="1", seed="", rate="60", only="redis away")
    assert options.again == f"python3 tasks.py chaos --minutes 1 --seed {options.seed} --rate 60 --only 'redis away'"
    assert [fault.name for fault in options.faults] == ["redis away"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"minutes": "0"}, '--minutes: invalid number "0"'),
        ({"rate": "many"}, '--rate: invalid number "many"'),
        ({"seed": "x"}, '--seed: invalid number "x". Use a whole number'),
        ({"only": "earthquake"}, "--only earthquake: no fault has this name. The faults: kill tracker, "),
    ],
)
def test_invalid_options_are_rejected(change: dict[str, str], message: str) -> None:
    with pytest.raises(OperatorError, match=message):
        parse(**({"minutes": "1", "seed": "1", "rate": "1", "only": ""} | change))
