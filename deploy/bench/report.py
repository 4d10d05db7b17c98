"""Report results: tables for people, one line of JSON for scripts, and a file for `bench.compare`."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from deploy.bench import compare
from deploy.bench.results import BenchResult
from deploy.bench.rounds import Effort

_WIDTH = 120  # without a terminal, as in CI


def console(*, json_output: bool) -> Console:
    """Return the console for people: standard error when standard output is for a script."""
    found = Console(stderr=json_output)
    return found if found.is_terminal else Console(stderr=json_output, width=_WIDTH)


def report(  # noqa: PLR0913 - the parts of a report
    result: BenchResult, tables: Sequence[Table], output: Console, effort: Effort, *, json_output: bool, load: str = ""
) -> int:
    """Print and store the result of a bench. Returns the exit code. With `json_output` the last line is JSON.

    `load` describes the load that the operator chose.
    """
    for each in tables:
        output.print(each)
        output.print()
    for reference, ratio in result.ratios.items():
        output.print(f"{result.name} / {reference}: {ratio:.2f}")
    if effort.is_brief:
        output.print("brief: only the number of lost events is meaningful", style="dim")
    if result.lost:
        output.print(f"LOST: {result.lost:,} events that were answered are nowhere", style="bold red")
    compare.keep(result, brief=effort.is_brief, load=load)
    if json_output:
        sys.stdout.write(result.as_json() + "\n")
    return result.exit_code
