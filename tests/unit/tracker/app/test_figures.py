import os
import re
import subprocess
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from services.tracker.app.figures import Figures, GaugeValue, figures_directory, remove_figures

ROOT = Path(__file__).parents[4]

# A process of its own, as a worker is: where values are kept is global to a process.
WORKER = """
import asyncio, os, signal
spool = ("events", "bytes", "limit_bytes")
from prometheus_client import CollectorRegistry
from services.backbone.metrics import TrackerMetrics
from services.tracker.app.figures import count_in_files, gauges_of

count_in_files({number})
registry = CollectorRegistry()
metrics = TrackerMetrics(registry)
metrics.accepted.inc({accepted})
metrics.refused.labels("redis").inc()
metrics.push_events.observe({accepted})
metrics.pending.set_function(lambda: 5)
gauges = {{gauge.name: gauge.value for gauge in asyncio.run(gauges_of(registry))}}
assert gauges["push_tracker_pending_events"] == 5, gauges
assert set(gauges) == {{"push_tracker_pending_events", *("push_tracker_spool_" + of for of in spool)}}, gauges
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_worker(directory: Path, number: int, accepted: int) -> None:
    program = WORKER.format(number=number, accepted=accepted)
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(directory)}
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert ended.returncode == -9, ended.stderr


def exported(figures: Figures) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(figures)
    lines = re.findall(r"^(push_\S+) (\S+)$", generate_latest(registry).decode(), re.MULTILINE)
    return {name: float(value) for name, value in lines}


def test_what_killed_workers_counted_is_there_and_successors_go_on() -> None:
    with figures_directory() as directory:
        figures = Figures(directory)
        assert exported(figures) == {}
        killed_worker(directory, 1, 10)
        killed_worker(directory, 2, 200)
        killed_worker(directory, 1, 3000)
        values = exported(figures)
        assert len(list(directory.glob("counter_*.db"))) == 2, "a file a worker, not a file a process"
        assert values["push_tracker_events_accepted_total"] == 3210
        assert values['push_tracker_events_refused_total{reason="redis"}'] == 3
        assert values['push_tracker_push_events_bucket{le="10.0"}'] == 1
        assert values['push_tracker_push_events_bucket{le="300.0"}'] == 2
        assert values['push_tracker_push_events_bucket{le="+Inf"}'] == values["push_tracker_push_events_count"] == 3
        assert values["push_tracker_push_events_sum"] == 3210
        assert "push_tracker_pending_events" not in values, "a gauge of the dead"
    assert not directory.exists()


def test_gauges_of_those_who_live_are_added() -> None:
    with figures_directory() as directory:
        figures = Figures(directory)
        one, other = GaugeValue("push_a", "help", 2.0), GaugeValue("push_b", "help", 7.0)
        figures.take_gauges([one, other, one])
        assert exported(figures) == {"push_a": 4.0, "push_b": 7.0}
        figures.take_gauges([other])
        assert exported(figures) == {"push_b": 7.0}


def test_a_file_that_is_just_being_made_is_no_hindrance() -> None:
    with figures_directory() as directory:
        (directory / "counter_1.db").touch()
        (directory / "counter_2.db").write_bytes(bytes(65_536))
        assert exported(Figures(directory)) == {}


def test_removing_twice_is_no_error() -> None:
    with figures_directory() as directory:
        remove_figures(directory)
