from pathlib import Path

import pytest

from services.offerserver.importers.configured import InvalidSource
from services.offerserver.importers.directory import ignored_files, importers_of
from tests.unit.offerserver.reading import feed


def test_directory_of_the_operator_adds_its_sources(tmp_path: Path) -> None:
    (tmp_path / "parks.yaml").write_text(feed("parks.yaml"))
    (tmp_path / "notes.txt").write_text("no source")
    assert set(importers_of(tmp_path)) - set(importers_of(None)) == {"parks"}
    assert ignored_files(tmp_path) == ["notes.txt"]
    assert ignored_files(None) == []


def test_wrong_directory_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InvalidSource, match="/nothere is no directory"):
        importers_of(tmp_path / "nothere")


def test_sources_of_both_endings_are_read_and_a_duplicate_names_both_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(feed("parks.yaml"))
    (tmp_path / "b.yml").write_text(feed("parks.yaml"))
    with pytest.raises(InvalidSource, match=r"b\.yml: name: another importer is named parks: a\.yaml"):
        importers_of(tmp_path)


def test_file_that_is_no_text_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InvalidSource, match=r"a\.yaml: this is not UTF-8"):
        importers_of(tmp_path)
