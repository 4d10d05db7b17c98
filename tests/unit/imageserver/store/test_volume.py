import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.imageserver.store.volume import FileGone, ListedFile, Volume, is_full, new_name

NAME = "ab" + "0" * 30


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    volume = Volume(tmp_path / "volume")
    volume.create()
    return volume


def listed(volume: Volume, directory: str) -> list[ListedFile]:
    return [file for piece in volume.list(directory) for file in piece]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"0123456789" * 1_000)
    return path


@pytest.fixture
def small_files(source: Path) -> Iterator[None]:
    """Limit files to 4,096 bytes, as a full volume would, once the source is written."""
    assert source.exists()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_create_makes_all_directories_and_may_be_called_again(volume: Volume, source: Path, tmp_path: Path) -> None:
    volume.write(source, NAME, "thumb", "jpg")
    volume.create()
    assert sorted(path.name for path in (tmp_path / "volume").iterdir()) == [f"{number:02x}" for number in range(256)]
    assert [file.name for file in listed(volume, "ab")] == [NAME]


def test_written_file_is_read_in_parts(volume: Volume, source: Path, tmp_path: Path) -> None:
    volume.write(source, NAME, "thumb", "jpg")
    path = f"ab/{NAME}.thumb.jpg"
    assert (tmp_path / "volume" / path).read_bytes() == source.read_bytes()
    assert volume.read(path, 0, 10_000, size=10_000) == source.read_bytes()
    assert volume.read(path, 9_995, 5, size=10_000) == b"56789"


def test_existing_name_is_never_written_again(volume: Volume, source: Path) -> None:
    volume.write(source, NAME, "thumb", "jpg")
    with pytest.raises(FileExistsError):
        volume.write(source, NAME, "thumb", "jpg")


@pytest.mark.usefixtures("small_files")
def test_file_that_does_not_fit_is_removed(volume: Volume, source: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too large") as failed:
        volume.write(source, NAME, "thumb", "jpg")
    assert is_full(failed.value)
    assert [path for path in (tmp_path / "volume").rglob("*") if path.is_file()] == []


def test_missing_or_short_file_is_gone(volume: Volume, source: Path) -> None:
    volume.write(source, NAME, "thumb", "jpg")
    with pytest.raises(FileGone):
        volume.read(f"ab/{NAME}.icon.jpg", 0, 1, size=1)
    with pytest.raises(FileGone):
        volume.read(f"ab/{NAME}.thumb.jpg", 0, 10, size=10_001)


def test_remove_removes_all_files_of_a_name(volume: Volume, source: Path) -> None:
    volume.write(source, NAME, "thumb", "jpg")
    volume.write(source, NAME, "icon", "webp")
    volume.remove(NAME)
    assert listed(volume, "ab") == []


def test_list_leaves_other_files_out(volume: Volume, source: Path, tmp_path: Path) -> None:
    volume.write(source, NAME, "thumb", "jpg")
    (tmp_path / "volume" / "ab" / ".nfs000000000000000000000001").write_bytes(b"x")
    assert [(file.path, file.name) for file in listed(volume, "ab")] == [(f"ab/{NAME}.thumb.jpg", NAME)]
    assert listed(volume, "cd") == []


def test_list_yields_a_large_directory_in_pieces(volume: Volume, tmp_path: Path) -> None:
    names = [f"ab{number:030x}" for number in range(1_201)]
    for name in names:
        (tmp_path / "volume" / "ab" / f"{name}.icon.jpg").touch()
    pieces = list(volume.list("ab"))
    assert [len(piece) for piece in pieces] == [500, 500, 201]
    assert sorted(file.name for piece in pieces for file in piece) == names


def test_touch_sets_the_time_to_now(volume: Volume, source: Path, tmp_path: Path) -> None:
    volume.write(source, NAME, "thumb", "jpg")
    os.utime(tmp_path / "volume" / "ab" / f"{NAME}.thumb.jpg", (1, 1))
    assert listed(volume, "ab")[0].modified_s == 1
    volume.touch({"thumb": {"jpg": 1}, "icon": {"jpg": 1}}, NAME)
    assert abs(listed(volume, "ab")[0].modified_s - volume.now_s()) < 60


def test_time_of_the_volume_is_read_by_one_file(volume: Volume, tmp_path: Path) -> None:
    clock = tmp_path / "volume" / "clock"
    volume.now_s()
    os.utime(clock, (1, 1))
    assert volume.now_s() > 1_000
    assert [path for path in (tmp_path / "volume").iterdir() if path.is_file()] == [clock]


def test_space_has_free_bytes(volume: Volume) -> None:
    volume.now_s()
    size, free = volume.space()
    assert 0 < free <= size


def test_names_are_random() -> None:
    assert len({new_name() for _ in range(100)}) == 100
