import os
import shutil
from pathlib import Path

import pytest

from services.imageserver.store.scratch import scratch_directory


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


def test_directory_exists_while_the_block_runs(tmp_path: Path) -> None:
    with scratch_directory(tmp_path) as own:
        (own / "upload").write_bytes(b"x")
    assert not own.exists()
    assert files(tmp_path) == []


def test_directories_of_ended_processes_are_removed(tmp_path: Path) -> None:
    with scratch_directory(tmp_path) as alive:
        (alive / "upload").write_bytes(b"x")
        ended = alive.parent / "of-a-killed-process"
        ended.mkdir()
        (ended / "upload").write_bytes(b"x")
        with scratch_directory(tmp_path) as own:
            assert own != alive
            assert files(tmp_path) == [alive / "upload"]
        assert files(tmp_path) == [alive / "upload"]


def test_files_of_others_stay(tmp_path: Path) -> None:
    """A volume or a backup beside the uploads, whatever its name is."""
    names = ["push-images", "push-images-backup", "push-images-1", "push-imageserver-uploads"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "picture").write_bytes(b"x")
    with scratch_directory(tmp_path):
        pass
    assert sorted(path.parent.name for path in files(tmp_path)) == sorted(names)


def test_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    with scratch_directory(tmp_path) as own:
        parent = own.parent
    shutil.rmtree(parent)
    other = tmp_path / "other"
    other.mkdir()
    parent.symlink_to(other)
    with pytest.raises(PermissionError, match="IMAGESERVER_SCRATCH"), scratch_directory(tmp_path):
        pass
    if os.getuid() == 0:
        parent.unlink()
        parent.mkdir()
        os.chown(parent, 1, 1)
        with pytest.raises(PermissionError, match="belongs to another user"), scratch_directory(tmp_path):
            pass
