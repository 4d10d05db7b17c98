import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("arguments", [(), ("importer",), ("worker", "beat", "admin")])
def test_wrong_arguments_show_the_usage(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "services.offerserver", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "usage: python -m services.offerserver {admin | worker | beat}" in done.stderr
