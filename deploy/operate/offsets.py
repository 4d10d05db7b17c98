"""The tasks offsets.show and offsets.set: where consumer groups are in the topic of events, and how to move one."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from deploy.errors import OperatorError
from deploy.interrupts import run_interruptible
from deploy.operate import variables
from deploy.operate.dead import quieten
from deploy.operate.dead_letters import readable_time
from deploy.operate.endpoints import Endpoints
from deploy.operate.offset_groups import ConsumerGroup, GroupOffsets, GroupPositions, known_groups, open_offsets
from deploy.operate.offset_moves import (
    OffsetMove,
    older_records,
    parse_partition,
    parse_target,
    plan_moves,
    still_due,
)
from services.backbone.dead_actions import keep_done_s
from services.backbone.names import IGNORES_OLD_EVENTS
from services.backbone.settings import KafkaSettings

_HOUR_S: Final = 3600
_APPLIED_LIMIT_S: Final = 20.0
"""A consumer looks for requests every second, unless it waits for Redis or for a rebalance."""


def show(endpoints: Endpoints, *, group: str, environ: Mapping[str, str], json_output: bool) -> int:
    """Print the partitions of one group, or a row for each group. Returns 1 if a position is invalid.

    JSON has the partitions of all groups. Raises OperatorError.
    """
    groups = [_known(group)] if group else list(known_groups().values())
    quieten()
    found = run_interruptible(_read(endpoints, _settings(endpoints, environ), groups))
    errors = [error for positions, _ in found for error in positions.errors]
    if json_output:
        sys.stdout.write(json.dumps({"groups": [_as_json(*each) for each in found], "errors": errors}) + "\n")
        return 1 if errors else 0
    console = Console(highlight=False)
    if group:
        console.print(_partitions(*found[0]))
    else:
        console.print(_groups(found))
        console.print("the partitions of one group: --group NAME")
    for error in errors:
        console.print(error, style="bold red")
    return 1 if errors else 0


def _groups(found: Sequence[tuple[GroupPositions, dict[int, int]]]) -> Table:
    """Return a row for each group, short enough for 80 columns."""
    table = _table("group", "members", "end", "lag", "waiting since")
    for positions, waiting in found:
        lag = sum(each.lag for each in positions.partitions)
        end = sum(each.end for each in positions.partitions)
        since = readable_time(min(waiting.values())) if waiting else ""
        table.add_row(positions.group.name, str(positions.members), f"{end:,}", f"{lag:,}", since)
    return table


def _partitions(positions: GroupPositions, waiting: Mapping[int, int]) -> Table:
    table = _table("partition", "position", "end", "lag", "waiting since", "requested")
    table.title = f"{positions.group.name}, running members: {positions.members}"
    for each in positions.partitions:
        table.add_row(
            str(each.partition),
            "none" if each.position is None else f"{each.position:,}",
            f"{each.end:,}",
            f"{each.lag:,}",
            readable_time(waiting[each.partition]) if each.partition in waiting else "",
            "" if each.requested is None else f"{each.requested:,}",
        )
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), title_justify="left", title_style="")
    table.add_column(first, no_wrap=True)
    for title in others:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def move(  # noqa: PLR0913 - one a flag
    endpoints: Endpoints,
    *,
    group: str,
    to: str,
    partition: str,
    environ: Mapping[str, str],
    dry_run: bool,
    yes: bool,
    now_ms: int | None = None,
) -> int:
    """Show what a move of a group repeats or skips, ask, and move it. Returns the exit code. Raises OperatorError."""
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    target = parse_target(to, now_ms=now_ms)
    wanted = _known(group)
    if not (dry_run or yes or sys.stdin.isatty()):
        raise OperatorError("this changes what is processed: look at it with --dry-run, then confirm with --yes")
    quieten()
    settings = _settings(endpoints, environ)
    moves = run_interruptible(preview(endpoints, settings, wanted, target, partition=partition, now_ms=now_ms))
    if dry_run or not moves:
        return 0
    if not yes and input(f"Move {wanted.name} in {len(moves)} partitions? [y/N] ").lower() != "y":
        raise OperatorError("cancelled: nothing was moved")
    return run_interruptible(apply(endpoints, settings, wanted, moves))


async def _read(
    endpoints: Endpoints, settings: KafkaSettings, groups: Sequence[ConsumerGroup]
) -> list[tuple[GroupPositions, dict[int, int]]]:
    """Return each group with the time of its oldest waiting record by partition."""
    async with open_offsets(endpoints, settings) as offsets:
        return [
            (found, await offsets.record_times({each.partition: each.current for each in found.partitions}))
            for found in await offsets.read(groups)
        ]


async def preview(  # noqa: PLR0913 - one a flag
    endpoints: Endpoints,
    settings: KafkaSettings,
    group: ConsumerGroup,
    target: str | int,
    *,
    partition: str,
    now_ms: int,
) -> list[OffsetMove]:
    """Print what a move repeats or skips, and return it by partition. Raises OperatorError."""
    console = Console(highlight=False)
    async with open_offsets(endpoints, settings) as offsets:
        chosen = parse_partition(partition, offsets.reader.partitions)
        [found] = await offsets.read([group])
        if found.errors:
            raise OperatorError("\n".join(found.errors))
        chosen_positions = [each for each in found.partitions if chosen in (None, each.partition)]
        moves = plan_moves(chosen_positions, await _targets(offsets, found, target))
        if moves:
            await _print_preview(console, offsets, found, moves, now_ms=now_ms)
        else:
            console.print(f"{group.name} is there already: nothing to move")
        return moves


async def apply(
    endpoints: Endpoints, settings: KafkaSettings, group: ConsumerGroup, moves: Sequence[OffsetMove]
) -> int:
    """Move a group, and wait until its members continue there. Return the exit code. Raises OperatorError."""
    async with open_offsets(endpoints, settings) as offsets:
        # The group goes on while a person reads the preview.
        [found] = await offsets.read([group])
        due = still_due(moves, {each.partition: each.current for each in found.partitions})
        await offsets.move(group, due)
        return await _report(Console(highlight=False), offsets, found, due)


async def _targets(offsets: GroupOffsets, found: GroupPositions, target: str | int) -> dict[int, int]:
    ends = {each.partition: each.end for each in found.partitions}
    if target == "latest":
        return ends
    if target == "earliest":
        return {each.partition: each.begin for each in found.partitions}
    return ends | await offsets.reader.offsets_at(int(target))


async def _print_preview(
    console: Console, offsets: GroupOffsets, found: GroupPositions, moves: Sequence[OffsetMove], *, now_ms: int
) -> None:
    group = found.group
    table = Table("partition", box=None, padding=(0, 2, 0, 0))
    for title in ("position", "new position", "repeats", "skips"):
        table.add_column(title, justify="right")
    for each in moves:
        numbers = (each.current, each.target, each.repeated, each.skipped)
        table.add_row(str(each.partition), *(f"{number:,}" for number in numbers))
    console.print(f"group {group.name}, running members: {found.members}")
    console.print(table)
    if repeated := sum(each.repeated for each in moves):
        console.print(f"repeats {repeated:,} records{await _span(offsets, [each for each in moves if each.repeated])}")
        if group.name in IGNORES_OLD_EVENTS:
            console.print("  An event older than ACTIONS_OLDEST_S is not acted on again, nor an action that has ended.")
        elif group.acts:
            young = {each.partition: each.end for each in found.partitions}
            keep_s = keep_done_s(group.name)
            young |= await offsets.reader.offsets_at(now_ms - 1000 * keep_s)
            kept = f"{keep_s // 3600} hours" if keep_s >= _HOUR_S else f"{keep_s // 60} minutes"
            older = older_records(moves, young)
            console.print(
                f"  An action that has ended within {kept} is not repeated, because its id is remembered.\n"
                f"  Records that were received before that, whose actions run again: {older:,}."
            )
        else:
            console.print(
                f"  {group.name} remembers the ids of {await offsets.remembered_ids(group):,} events, and drops these "
                "as duplicates.\n  It counts all other repeated events a second time: no count is taken back."
            )
    if skipped := sum(each.skipped for each in moves):
        console.print(f"skips {skipped:,} records{await _span(offsets, [each for each in moves if each.skipped])}")
        effect = "No action is run for them" if group.acts else "They are not counted"
        console.print(f"  {effect}.")


async def _span(offsets: GroupOffsets, moves: Sequence[OffsetMove]) -> str:
    """Return when the first and the last of the records were received, for a sentence."""
    first = await offsets.record_times({each.partition: each.edges[0] for each in moves})
    last = await offsets.record_times({each.partition: each.edges[1] for each in moves})
    if not first or not last:
        return ""
    return f", received from {readable_time(min(first.values()))} to {readable_time(max(last.values()))}"


async def _report(console: Console, offsets: GroupOffsets, found: GroupPositions, due: Sequence[OffsetMove]) -> int:
    group, partitions = found.group, [each.partition for each in due]
    if not found.members:
        done = "requested" if group.acts else "moved"
        console.print(f"{done}: no consumer of {group.name} runs, the next one begins there")
        return 0
    if not group.acts:
        console.print("moved: the running consumers continue there within seconds")
        return 0
    left = await offsets.wait_until_applied(group, partitions, limit_s=_APPLIED_LIMIT_S)
    if left:
        console.print(
            f"requested, and not applied within {_APPLIED_LIMIT_S:.0f} s in the partitions {sorted(left)}. The request "
            f"stays, and a consumer applies it later.\nLook at the log of the container {group.container}.",
            style="bold red",
        )
        return 1
    console.print("moved: the consumers continue there")
    return 0


def _as_json(positions: GroupPositions, waiting: Mapping[int, int]) -> dict[str, Any]:
    return {
        "group": positions.group.name,
        "container": positions.group.container,
        "members": positions.members,
        "partitions": [
            {
                "partition": each.partition,
                "position": each.position,
                "begin": each.begin,
                "end": each.end,
                "lag": each.lag,
                "waiting_since_ms": waiting.get(each.partition),
                "requested": each.requested,
            }
            for each in positions.partitions
        ],
    }


def _known(group: str) -> ConsumerGroup:
    groups = known_groups()
    if group not in groups:
        error = f'--group: unknown group "{group}"' if group else "--group is missing"
        raise OperatorError(f"{error}. Use one of {', '.join(sorted(groups))}.")
    return groups[group]


def _settings(endpoints: Endpoints, environ: Mapping[str, str]) -> KafkaSettings:
    return variables.read(KafkaSettings, {**environ, "KAFKA_BOOTSTRAP_SERVERS": endpoints.bootstrap_servers})
