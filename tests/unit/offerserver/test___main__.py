import subprocess
import sys
from pathlib import Path

import pytest

from services.offerserver.__main__ import importers_of
from services.offerserver.importers.configured import InvalidSource
from tests.unit.offerserver.reading import feed

ROOT = Path(__file__).parents[3]


def test_directory_of_the_operator_adds_its_sources(tmp_path: Path) -> None:
    (tmp_path / "parks.yaml").write_text(feed("parks.yaml"))
    (tmp_path / "notes.txt").write_text("no source")
    assert set(importers_of(tmp_path)) - set(importers_of(None)) == {"parks"}


def test_file_that_is_no_text_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InvalidSource):
        importers_of(tmp_path)


@pytest.mark.parametrize("arguments", [(), ("importer",), ("worker", "beat", "admin")])
def test_wrong_arguments_show_the_usage(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "services.offerserver", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage: python -m services.offerserver {admin | worker | beat}" in done.stderr
