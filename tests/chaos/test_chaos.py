"""Random faults from fixed seeds, on the real system under load: no acknowledged event is lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.develop.localstack.kafka import KafkaKind

ROOT = Path(__file__).parents[2]


@pytest.mark.chaos
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("seed", "minutes"), [(7, 1.5), (2026, 0.7)])
def test_chaos_loses_no_acknowledged_event(seed: int, minutes: float, kafka_kind: KafkaKind) -> None:
    command = ["chaos", "--minutes", str(minutes), "--seed", str(seed), "--json", "--kafka", kafka_kind]
    run = subprocess.run(
        [sys.executable, "tasks.py", *command], cwd=ROOT, capture_output=True, text=True, timeout=580, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    result = json.loads(run.stdout.splitlines()[-1])
    assert (result["lost"], result["unaccounted"], result["waiting"], result["died"]) == (0, 0, 0, [])
    assert result["acknowledged"] > 500
    assert sum(result["faults"].values()) >= 3
    assert f"--seed {seed}" in result["again"]
