import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.chaos.disk import SmallDisk, can_mount


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if not can_mount():
        pytest.skip("a file system can be mounted by root only")
    disk = SmallDisk(tmp_path / "disk", size=1_048_576, log=tmp_path / "log")
    disk.start()
    yield disk
    disk.stop()


def written(disk: SmallDisk, place: Path) -> int:
    command = [*disk.within, "sh", "-c", 'echo event >> "$1"', "sh", str(place)]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_full_disk_rejects_writes_until_it_is_freed(disk: SmallDisk, tmp_path: Path) -> None:
    place = tmp_path / "disk" / "spool"
    assert written(disk, place) == 0
    disk.fill()
    assert written(disk, tmp_path / "disk" / "another") != 0
    disk.free()
    assert written(disk, place) == 0


def test_disk_is_visible_only_inside_its_namespace(disk: SmallDisk, tmp_path: Path) -> None:
    assert written(disk, tmp_path / "disk" / "spool") == 0
    assert list((tmp_path / "disk").iterdir()) == []
