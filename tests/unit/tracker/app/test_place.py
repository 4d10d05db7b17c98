from pathlib import Path

import pytest

from services.tracker.app.place import Place


def test_a_place_survives_the_command_line() -> None:
    place = Place(number=2, channel=7, figures=Path("/dev/shm/figures of one"))  # noqa: S108 - only a name
    assert Place.from_arguments(place.arguments()) == place


@pytest.mark.parametrize("arguments", ["help", "worker", "worker one 7 /x", "boss 1 7 /x", "worker 1 7 /x more"])
def test_other_arguments_are_refused(arguments: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Place.from_arguments(arguments.split())
