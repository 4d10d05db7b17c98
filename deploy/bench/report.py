"""How a bench tells what it found: tables for people, one line of JSON for scripts, and a file for `bench.compare`."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from deploy.bench import compare
from deploy.bench.results import BenchResult
from deploy.bench.rounds import Effort

_WIDTH = 120  # where nobody looks at a terminal, as in CI


def console(*, json_output: bool) -> Console:
    """Return where a bench talks to people: standard error when standard output is for a script."""
    found = Console(stderr=json_output)
    return found if found.is_terminal else Console(stderr=json_output, width=_WIDTH)


def report(  # noqa: PLR0913 - what a bench has to tell, and how
    figure: BenchResult, tables: Sequence[Table], output: Console, effort: Effort, *, json_output: bool, load: str = ""
) -> int:
    """Print what came of a bench and keep it; returns the exit code. With `json_output` the last line is the figure.

    `load` says what it was measured with, where the operator chose it.
    """
    for each in tables:
        output.print(each)
        output.print()
    for reference, ratio in figure.ratios.items():
        output.print(f"{figure.name} / {reference}: {ratio:.2f}")
    if effort.is_brief:
        output.print("brief: only that nothing was lost means something here", style="dim")
    if figure.lost:
        output.print(f"LOST: {figure.lost:,} events that were answered are nowhere", style="bold red")
    compare.keep(figure, brief=effort.is_brief, load=load)
    if json_output:
        sys.stdout.write(figure.as_json() + "\n")
    return figure.exit_code
