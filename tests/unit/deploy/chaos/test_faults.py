from itertools import islice

from deploy.chaos.faults import FAULTS, sequence


def drawn(seed: int, count: int) -> list[tuple[str, float]]:
    return [(fault.name, dice.random()) for fault, dice in islice(sequence(FAULTS, seed), count)]


def test_equal_seeds_yield_equal_faults() -> None:
    assert drawn(7, 50) == drawn(7, 50)
    assert drawn(7, 50) != drawn(8, 50)


def test_every_fault_occurs_once_before_any_occurs_twice() -> None:
    names = [name for name, _ in drawn(1, 2 * len(FAULTS))]
    assert len(set(names[: len(FAULTS)])) == len(FAULTS)
    assert sorted(names[: len(FAULTS)]) == sorted(names[len(FAULTS) :])


def test_fault_names_are_unique() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
