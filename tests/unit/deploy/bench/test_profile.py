from pathlib import Path

import pytest

from deploy.bench.profile import parse_seconds, profile, read_stacks
from deploy.errors import OperatorError


def test_sample_counts_for_its_function_and_for_its_callers() -> None:
    found = read_stacks(
        "main (a.py:1);work (a.py:7) 3\nmain (a.py:2);work (a.py:9);inner (b.py:4) 5\nmain (a.py:3) 2\n"
    )
    assert found.samples == 10
    assert dict(found.own) == {"work (a.py)": 3, "inner (b.py)": 5, "main (a.py)": 2}
    assert (found.total["main (a.py)"], found.total["work (a.py)"]) == (10, 8)


def test_idle_thread_is_not_counted() -> None:
    found = read_stacks("main (a.py:1) 3\nrun (t.py:5);_worker (concurrent/futures/thread.py:81) 7\n")
    assert (found.samples, dict(found.own)) == (3, {"main (a.py)": 3})


def test_recursive_function_counts_once_per_sample() -> None:
    assert read_stacks("f (a.py:1);f (a.py:1);f (a.py:1) 4").total["f (a.py)"] == 4


def test_unknown_service_of_a_profile_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(OperatorError, match="tracker, kafkastore, consumers, kafidx"):
        profile("nginx", seconds=5.0)
    with pytest.raises(OperatorError, match="tracker takes no --log"):
        profile("tracker", seconds=5.0, log=Path("access.log"))
    with pytest.raises(OperatorError, match="idle"):
        read_stacks("")
    with pytest.raises(OperatorError, match="1 to 30"):
        parse_seconds("0")
