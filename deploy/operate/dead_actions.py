"""The tasks actions.dead.list and actions.dead.retry: show the dead list of actions, and retry what it has."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from getpass import getuser

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.errors import OperatorError
from deploy.interrupts import run_interruptible
from deploy.operate.actions_redis import open_actions
from deploy.operate.dead_letters import readable_time
from deploy.operate.endpoints import Endpoints
from deploy.operate.offset_groups import known_groups
from services.backbone.dead_actions import DeadAction, DeadActionFilter, DeadActions


def show(endpoints: Endpoints, selected: DeadActionFilter, *, limit: int, json_output: bool) -> int:
    """Print the selected actions, the newest first. Return the exit code. Raises OperatorError."""
    found = run_interruptible(_find(endpoints, selected))
    newest = found[:limit] if limit else found
    if json_output:
        rows = [msgspec.to_builtins(action) for action in newest]
        sys.stdout.write(json.dumps({"actions": rows, "total": len(found), "by_handler": _counts(found)}) + "\n")
        return 0
    console = Console()
    if not found:
        console.print("no dead actions" if selected == DeadActionFilter() else "no dead action matches")
        return 0
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("died", "handler", "reason", "arguments", "id"):
        table.add_column(title)
    for action in newest:
        died, arguments = readable_time(action.died_at_ms), Text(action.arguments, overflow="ellipsis", no_wrap=True)
        table.add_row(died, action.handler, Text(action.reason), arguments, Text(action.id))
    console.print(table)
    if len(newest) < len(found):
        console.print(f"showing the newest {len(newest):,} of {len(found):,} (--limit 0 shows all)")
    console.print(_by_handler(found))
    return 0


def retry(endpoints: Endpoints, selected: DeadActionFilter, *, dry_run: bool, yes: bool) -> int:
    """Show how many actions are selected, ask, and retry exactly these. Return the exit code. Raises OperatorError."""
    if not (dry_run or yes or sys.stdin.isatty()):
        raise OperatorError("this repeats actions: look at it with --dry-run, then confirm with --yes")
    found = run_interruptible(_find(endpoints, selected))
    due = [action for action in found if not action.is_invalid]
    console = Console(highlight=False)
    console.print(f"{_counted(len(due))} to retry: {_by_handler(due)}" if due else "no action to retry")
    if len(due) < len(found):
        console.print(f"invalid events, which would be invalid again and stay in the list: {len(found) - len(due):,}")
    if dry_run or not due:
        return 0
    if not yes and input(f"Retry {_counted(len(due))}? [y/N] ").lower() != "y":
        raise OperatorError("cancelled: nothing was retried")
    console.print(f"{_counted(run_interruptible(_retry(endpoints, due)))} given to the consumers")
    return 0


async def _find(endpoints: Endpoints, selected: DeadActionFilter) -> list[DeadAction]:
    """Return the selected actions. Raises OperatorError if no consumer has the handler, and no action either."""
    async with open_actions(endpoints) as redis:
        found = await DeadActions(redis).find(selected)
    known = [group.name for group in known_groups().values() if group.acts]
    if selected.handler and not found and selected.handler not in known:
        raise OperatorError(f'--handler: unknown handler "{selected.handler}". Use one of {", ".join(sorted(known))}.')
    return found


async def _retry(endpoints: Endpoints, found: Sequence[DeadAction]) -> int:
    async with open_actions(endpoints) as redis:
        return await DeadActions(redis).retry(found, by=f"task {getuser()}")


def _counts(found: Sequence[DeadAction]) -> dict[str, int]:
    return dict(Counter(action.handler for action in found).most_common())


def _by_handler(found: Sequence[DeadAction]) -> str:
    return "  ".join(f"{handler}: {count:,}" for handler, count in _counts(found).items())


def _counted(count: int) -> str:
    return "1 action" if count == 1 else f"{count:,} actions"
