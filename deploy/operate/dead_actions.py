"""The tasks actions.dead.list and actions.dead.retry: show the dead list of actions, and retry what it has."""

import asyncio
import contextlib
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from getpass import getuser
from typing import Final

import msgspec
from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.errors import OperatorError
from deploy.operate.dead_letters import readable_time
from deploy.operate.endpoints import DOES_IT_RUN, Endpoints, without_password
from services.backbone.dead_actions import DeadAction, DeadActionFilter, DeadActions
from services.backbone.redis import connect

_REDIS_TIMEOUT_S: Final = 5.0


def show(endpoints: Endpoints, selected: DeadActionFilter, *, limit: int, json_output: bool) -> int:
    """Print the selected actions, the newest first. Return the exit code."""
    found = asyncio.run(_find(endpoints, selected))
    newest = found[:limit] if limit else found
    if json_output:
        rows = [msgspec.to_builtins(action) for action in newest]
        sys.stdout.write(json.dumps({"actions": rows, "total": len(found), "by_handler": _by_handler(found)}) + "\n")
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
    console.print("  ".join(f"{handler}: {count:,}" for handler, count in _by_handler(found).items()))
    return 0


def retry(endpoints: Endpoints, selected: DeadActionFilter, *, dry_run: bool) -> int:
    """Retry the selected actions. Return the exit code."""
    console = Console()
    if dry_run:
        found = asyncio.run(_find(endpoints, selected))
        console.print(f"would retry {len(found):,} actions")
        return 0
    console.print(f"{asyncio.run(_retry(endpoints, selected)):,} actions are retried by their consumers")
    return 0


async def _find(endpoints: Endpoints, selected: DeadActionFilter) -> list[DeadAction]:
    async with _dead_actions(endpoints) as dead:
        return await dead.find(selected)


async def _retry(endpoints: Endpoints, selected: DeadActionFilter) -> int:
    async with _dead_actions(endpoints) as dead:
        return await dead.retry(await dead.find(selected), by=f"task {getuser()}")


@contextlib.asynccontextmanager
async def _dead_actions(endpoints: Endpoints) -> AsyncIterator[DeadActions]:
    redis = connect(endpoints.actions_url, timeout_s=_REDIS_TIMEOUT_S, resend=True, text="strict")
    try:
        yield DeadActions(redis)
    except RedisError as error:
        address = without_password(endpoints.actions_url)
        raise OperatorError(f"the Redis of the actions ({address}) does not respond: {error}\n{DOES_IT_RUN}") from None
    finally:
        await redis.aclose()


def _by_handler(found: list[DeadAction]) -> dict[str, int]:
    return dict(Counter(action.handler for action in found).most_common())
