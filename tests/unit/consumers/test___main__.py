import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.consumers.handlers import HANDLERS

ROOT = Path(__file__).parents[3]


def start(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.consumers", *arguments]
    env = {**os.environ, **environ}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("arguments", [(), ("event_conter",), ("event_counter", "timing_stats")])
def test_missing_or_unknown_name_lists_the_valid_names(arguments: tuple[str, ...]) -> None:
    response = start(*arguments)
    assert response.returncode == 2
    for name in HANDLERS:
        assert name in response.stderr


def test_invalid_settings_are_reported_before_any_connection() -> None:
    response = start("event_counter", CONSUMERS_MAX_LABELS="3", COUNTERS_REDIS_URL="nowhere")
    assert response.returncode == 78
    assert "CONSUMERS_MAX_LABELS" in response.stderr
    assert "COUNTERS_REDIS_URL" in response.stderr
