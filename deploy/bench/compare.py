"""bench.compare: compare the ratios of the last benches on this machine with the recorded ones.

It compares only ratios. Both numbers of a ratio come from one run on one machine, so a ratio is valid on other
machines.
"""

import json
import os
import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deploy.bench.results import BenchResult
from deploy.errors import OperatorError

LATEST = Path(__file__).parents[2] / ".cache" / "bench"
"""A file for each bench: its last result on this machine. CI stores them."""
RECORDED = Path(__file__).with_name("recorded.json")

_WORSE = 0.8
"""A ratio below this fraction of the recorded ratio is a regression. The noise of our machines is smaller."""


@dataclass(frozen=True)
class Change:
    """One recorded and one latest ratio."""

    bench: str
    reference: str
    recorded: float
    latest: float

    @property
    def part(self) -> float:
        """The latest ratio divided by the recorded one. A value above 1 is an improvement."""
        return self.latest / self.recorded

    @property
    def is_regression(self) -> bool:
        """Whether the ratio fell by more than a fifth."""
        return self.part < _WORSE


def keep(result: BenchResult, *, brief: bool, load: str = "", folder: Path = LATEST) -> None:
    """Store a result as the latest of its bench. A brief result gets its own file and does not replace a full one."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = {
        "figure": json.loads(result.as_json()),
        "brief": brief,
        "load": load,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
    }
    name = result.name.replace(" ", "-") + (".brief" if brief else "")
    (folder / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")


def compare(*, record: bool, latest: Path = LATEST, recorded: Path = RECORDED) -> int:
    """Print both ratios.

    Returns 1 when a ratio fell by more than a fifth. With `record`, store the latest ratios as the recorded ones.
    """
    now = {name: kept for name, kept in _read_latest(latest) if not kept["brief"]}
    if not now:
        raise OperatorError("no bench has run here without --brief: run bench.tracker and the others first")
    if record:
        then = _read_recorded(recorded)
        recorded.write_text(json.dumps(then | now, indent=1, sort_keys=True) + "\n")
        print(f"recorded: {', '.join(sorted(now))}")
        return 0
    then = _read_recorded(recorded)
    changes = list(changes_between(then, now))
    if not changes:
        raise OperatorError("no bench has run here with a recorded load: use the recorded --log, or --record")
    Console().print(_table(changes))
    compared = {change.bench for change in changes}
    for name in sorted((then.keys() | now.keys()) - compared):
        print(f"not compared: {name}: {_why_not(then.get(name), now.get(name))}")
    fallen = [change for change in changes if change.is_regression]
    for change in fallen:
        print(f"REGRESSION: {change.bench} / {change.reference}: {change.latest:.3f}, recorded {change.recorded:.3f}")
    return 1 if fallen else 0


def changes_between(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterable[Change]:
    """Return the changes of the ratios that are in both results."""
    for name in sorted(then.keys() & now.keys()):
        if then[name]["load"] != now[name]["load"]:
            continue
        before, after = then[name]["figure"]["ratios"], now[name]["figure"]["ratios"]
        for reference in before.keys() & after.keys():
            yield Change(name, reference, before[reference], after[reference])


def _why_not(then: Any, now: Any) -> str:
    if then is None:
        return "not recorded yet"
    if now is None:
        return "it has not run here"
    return f"recorded with {then['load'] or 'its own load'}, run with {now['load'] or 'its own load'}"


def _read_latest(folder: Path) -> Iterable[tuple[str, Any]]:
    for file in sorted(folder.glob("*.json")):
        kept = json.loads(file.read_text())
        yield kept["figure"]["name"], kept


def _read_recorded(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text())) if file.exists() else {}


def _table(changes: Iterable[Change]) -> Table:
    table = Table(title="ratios to the references", title_justify="left", box=None)
    for column in ("bench", "reference"):
        table.add_column(column)
    for column in ("recorded", "latest", "change"):
        table.add_column(column, justify="right")
    for change in changes:
        style = "bold red" if change.is_regression else ""
        difference = f"{100 * (change.part - 1):+.0f} %"
        table.add_row(
            change.bench, change.reference, f"{change.recorded:.3f}", f"{change.latest:.3f}", difference, style=style
        )
    return table
