"""The metrics of all workers as one: what was counted, added up, also of workers that are gone.

Workers count in files that are mapped into memory (prometheus_client's multiprocess mode), so a SIGKILL costs nothing
that was counted, and a worker's successor goes on counting where it ended. Gauges tell of now, so they are asked of
those who live.
"""

import contextlib
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry, Metric, values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

# In memory where there is such a file system: each count would otherwise be written to disk, some time.
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a directory is made there under a name that nobody can guess


class GaugeValue(msgspec.Struct, frozen=True):
    """One gauge of one worker."""

    name: str
    help: str
    value: float


@contextlib.contextmanager
def figures_directory() -> Iterator[Path]:
    """Make the directory where workers count; it goes with the block."""
    parent = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="push-tracker-", dir=parent))
    try:
        yield directory
    finally:
        remove_figures(directory)


def remove_figures(directory: Path) -> None:
    """Remove the directory, if it is still there; who counts there may go on."""
    shutil.rmtree(directory, ignore_errors=True)


def count_in_files(number: int) -> None:
    """Let the metrics that this process makes from now on be counted in the files of worker `number`.

    Their directory is what the environment's PROMETHEUS_MULTIPROC_DIR says.
    """
    values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]


async def gauges_of(registry: CollectorRegistry) -> list[GaugeValue]:
    """Return the gauges of this process. The tracker's have no labels."""
    return [
        GaugeValue(metric.name, metric.documentation, sample.value)
        for metric in registry.collect()
        if metric.type == "gauge"
        for sample in metric.samples
    ]


class Figures(Collector):
    """All workers' metrics, for a registry."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._gauges: Sequence[GaugeValue] = ()

    def take_gauges(self, gauges: Sequence[GaugeValue]) -> None:
        """Note the gauges of all workers that live."""
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        """Add up: counters and histograms over all workers that there ever were, gauges over those noted last."""
        files = [
            str(path)
            for kind in ("counter", "histogram")
            for path in sorted(self._directory.glob(f"{kind}_*.db"))
            if path.stat().st_size > 0  # one that a worker is just making
        ]
        yield from MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        sums: defaultdict[tuple[str, str], float] = defaultdict(float)
        for gauge in self._gauges:
            sums[gauge.name, gauge.help] += gauge.value
        for (name, help_), value in sums.items():
            metric = Metric(name, help_, "gauge")
            metric.add_sample(name, {}, value)
            yield metric
