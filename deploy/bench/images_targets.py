"""The targets of bench.images: what the imageserver reaches beside thumbor, by rate and by CPU time."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.table import Table

from deploy.bench.results import Round, median


class ImageTarget(NamedTuple):
    """A ratio that the imageserver should reach."""

    name: str
    ours: str
    reference: str
    """The contenders."""
    least: float


class ImageVerdict(NamedTuple):
    """What it reaches. A ratio is None if a contender was not measured."""

    target: ImageTarget
    by_rate: float | None
    """On a busy core, the scheduler gives more time to a contender with more processes. The imageserver has two."""
    by_cpu: float | None
    """The CPU time of the reference for one picture, divided by ours. It lacks the waits for the disk."""

    @property
    def is_met(self) -> bool:
        """Whether both ratios are high enough."""
        ratios = (self.by_rate, self.by_cpu)
        return all(ratio is not None and ratio >= self.target.least for ratio in ratios)


def judge(target: ImageTarget, rows: Mapping[str, Sequence[Round]]) -> ImageVerdict:
    """Return the ratios of the medians."""
    ours, reference = rows[target.ours], rows[target.reference]
    rates = [median([each.rate for each in rounds]) for rounds in (ours, reference)]
    cpu_us = [median([each.cpu_us_per_event for each in rounds]) for rounds in (reference, ours)]
    return ImageVerdict(target, _ratio(*rates), _ratio(*cpu_us))


def verdict_table(verdicts: Sequence[ImageVerdict]) -> Table:
    """Return a table of the targets."""
    table = Table(title="the imageserver beside thumbor", title_justify="left", box=None)
    table.add_column("", no_wrap=True)
    for column in ("by rate", "by CPU time", "target", ""):
        table.add_column(column, justify="right", no_wrap=True)
    for each in verdicts:
        numbers = ("" if ratio is None else f"{ratio:.2f}" for ratio in (each.by_rate, each.by_cpu))
        met = "met" if each.is_met else "missed"
        table.add_row(
            each.target.name, *numbers, f"{each.target.least:g}", met, style="" if each.is_met else "bold red"
        )
    return table


def _ratio(above: float | None, below: float | None) -> float | None:
    return round(above / below, 3) if above and below else None
