from pathlib import Path

import pytest

from services.offerserver.importers.configured import InvalidSource
from services.offerserver.importers.directory import importers_of
from tests.unit.offerserver.reading import feed


def test_directory_of_the_operator_adds_its_sources(tmp_path: Path) -> None:
    (tmp_path / "parks.yaml").write_text(feed("parks.yaml"))
    (tmp_path / "notes.txt").write_text("no source")
    assert set(importers_of(tmp_path)) - set(importers_of(None)) == {"parks"}


def test_file_that_is_no_text_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InvalidSource):
        importers_of(tmp_path)
