from itertools import islice

from deploy.chaos.faults import FAULTS, sequence


def drawn(seed: int, count: int) -> list[tuple[str, float]]:
    return [(fault.name, dice.random()) for fault, dice in islice(sequence(FAULTS, seed), count)]


def test_a_seed_draws_the_same_faults_again() -> None:
    assert drawn(7, 50) == drawn(7, 50)
    assert drawn(7, 50) != drawn(8, 50)


def test_each_fault_comes_once_before_any_comes_twice() -> None:
    names = [name for name, _ in drawn(1, 2 * len(FAULTS))]
    assert len(set(names[: len(FAULTS)])) == len(FAULTS)
    assert sorted(names[: len(FAULTS)]) == sorted(names[len(FAULTS) :])


def test_every_fault_has_a_name_of_its_own() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
