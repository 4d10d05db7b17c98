import os
import subprocess
import time
from pathlib import Path

import pytest

from deploy.chaos.clock import Clock, find_library


@pytest.mark.parametrize("seconds", [3600, -3600, 0])
def test_process_reads_the_time_from_its_clock(seconds: int, tmp_path: Path) -> None:
    library = find_library()
    if library is None:
        pytest.skip("Debian's package faketime is not installed")
    clock = Clock(library, tmp_path / "clock")
    clock.step(seconds)
    shown = subprocess.run(["date", "+%s"], env=os.environ | clock.environment, capture_output=True, check=True)
    assert abs(int(shown.stdout) - time.time() - seconds) < 60
