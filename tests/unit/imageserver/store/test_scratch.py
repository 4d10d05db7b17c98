import os
from pathlib import Path

from services.imageserver.store.scratch import scratch_directory


def test_directory_exists_while_the_block_runs(tmp_path: Path) -> None:
    with scratch_directory(tmp_path) as own:
        (own / "upload").write_bytes(b"x")
    assert list(tmp_path.iterdir()) == []


def test_directories_of_ended_processes_are_removed(tmp_path: Path) -> None:
    same_id, ended, alive = (tmp_path / f"push-images-{pid}" for pid in (os.getpid(), 2**22 + 1, os.getppid()))
    for directory in (same_id, ended, alive):
        directory.mkdir()
        (directory / "upload").write_bytes(b"x")
    with scratch_directory(tmp_path) as own:
        assert own == same_id
        assert list(own.iterdir()) == []
        assert sorted(tmp_path.iterdir()) == sorted([own, alive])
