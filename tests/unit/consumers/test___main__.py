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
def test_missing_or_wrong_name_lists_the_right_ones(arguments: tuple[str, ...]) -> None:
    answer = start(*arguments)
    assert answer.returncode == 2
    for name in HANDLERS:
        assert name in answer.stderr


def test_wrong_settings_are_named_before_anything_is_opened() -> None:
    answer = start("event_counter", CONSUMERS_MAX_LABELS="3", COUNTERS_REDIS_URL="nowhere")
    assert answer.returncode == 78
    assert "CONSUMERS_MAX_LABELS" in answer.stderr
    assert "COUNTERS_REDIS_URL" in answer.stderr
