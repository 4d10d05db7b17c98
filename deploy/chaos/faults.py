"""The faults. Each breaks one thing for a while. The caller heals the system afterwards."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from redis.asyncio import Redis

from deploy.chaos.system import ChaosSystem
from deploy.develop.localstack.processes import LocalProcess
from deploy.develop.localstack.services import ServiceProcess
from services.backbone import names

Strike = Callable[[ChaosSystem, random.Random], Awaitable[str]]
"""Inject the fault, wait, and return a description. All random values come from the given generator."""

_CLOCK_STEP_S = 3600
_POISON = b"\x00this is no entry of the list"


class Fault(NamedTuple):
    """A kind of fault."""

    name: str
    strike: Strike
    why_not: Callable[[ChaosSystem], str] = lambda _system: ""
    """Return the reason why this fault can't be injected here. Return an empty string if it can."""


async def _kill(system: ChaosSystem, dice: random.Random, *, among: Callable[[ChaosSystem], Sequence[object]]) -> str:
    process = _process(dice.choice(among(system)))
    gone_s = dice.uniform(0, 3)
    await system.take_down(process, kill=True)
    await asyncio.sleep(gone_s)
    return f"SIGKILL of {process.name}, down for {gone_s:.1f} s"


async def _pause(system: ChaosSystem, dice: random.Random, *, among: Callable[[ChaosSystem], Sequence[object]]) -> str:
    process = _process(dice.choice(among(system)))
    stopped_s = dice.uniform(1, 5)
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(stopped_s)
    process.send_signal(signal.SIGCONT)
    return f"SIGSTOP of {process.name} for {stopped_s:.1f} s"


async def _away(
    system: ChaosSystem,
    dice: random.Random,
    *,
    process: Callable[[ChaosSystem], LocalProcess],
    shortest_s: float,
    longest_s: float,
) -> str:
    server = process(system)
    away_s = dice.uniform(shortest_s, longest_s)
    await system.take_down(server)
    await asyncio.sleep(away_s)
    return f"SIGTERM of {server.name}, down for {away_s:.1f} s"


async def _disk_full(system: ChaosSystem, dice: random.Random) -> str:
    full_s = dice.uniform(3, 8)
    if system.disk is not None:
        await asyncio.to_thread(system.disk.fill)
    await system.take_down(system.redis)
    await asyncio.sleep(full_s)
    what = "a full disk" if system.disk is not None else "a small spool"
    return f"Redis down for {full_s:.1f} s, a tracker with {what}"


async def _latency(system: ChaosSystem, dice: random.Random) -> str:
    latency_s, lasting_s = dice.uniform(0.02, 0.4), dice.uniform(3, 6)
    system.relay.latency_s = latency_s
    await asyncio.sleep(lasting_s)
    return f"{latency_s * 1000:.0f} ms each way to Redis for {lasting_s:.1f} s"


async def _stall(system: ChaosSystem, dice: random.Random) -> str:
    lasting_s = dice.uniform(1, 6)
    system.relay.stall()
    await asyncio.sleep(lasting_s)
    return f"no bytes to and from Redis for {lasting_s:.1f} s"


async def _cut(system: ChaosSystem, dice: random.Random) -> str:
    lasting_s = dice.uniform(0, 4)
    system.relay.cut()
    await asyncio.sleep(lasting_s)
    return f"connections to Redis reset and refused for {lasting_s:.1f} s"


async def _clock_step(system: ChaosSystem, dice: random.Random) -> str:
    label = dice.choice(sorted(system.clocks))
    seconds = dice.choice((_CLOCK_STEP_S, -_CLOCK_STEP_S))
    lasting_s = dice.uniform(3, 8)
    system.clocks[label].step(seconds)
    await asyncio.sleep(lasting_s)
    return f"the clock of {label} {seconds:+d} s for {lasting_s:.1f} s"


async def _poison(system: ChaosSystem, dice: random.Random) -> str:
    """Push undecodable entries and count them as accepted in the ledger, as a tracker does."""
    count = dice.randrange(1, 5)
    async with Redis.from_url(system.stack.redis_url) as redis, redis.pipeline(transaction=True) as transaction:
        transaction.rpush(names.RAW_EVENTS_LIST, *[_POISON] * count)
        transaction.hincrby(names.LEDGER, "accepted", count)
        await transaction.execute()
    return f"{count} undecodable entries"


def _process(one: object) -> LocalProcess:
    if isinstance(one, ServiceProcess):
        return one.process
    if isinstance(one, LocalProcess):
        return one
    raise TypeError(f"{one!r} is not a process")


def _without_storage(system: ChaosSystem) -> str:
    return "" if system.stack.kafka.kind == "apache" else "Tansu loses its data at a restart"


def _without_clocks(system: ChaosSystem) -> str:
    return "" if system.clocks else "Debian's package faketime is not installed"


FAULTS = (
    Fault("kill tracker", partial(_kill, among=lambda system: system.trackers)),
    Fault("kill kafkastore", partial(_kill, among=lambda system: system.kafkastores)),
    Fault("kill consumer", partial(_kill, among=lambda system: system.consumers)),
    Fault("kill broker", partial(_kill, among=lambda system: [system.broker]), _without_storage),
    Fault("pause tracker", partial(_pause, among=lambda system: system.trackers)),
    Fault("pause kafkastore", partial(_pause, among=lambda system: system.kafkastores)),
    Fault("pause consumer", partial(_pause, among=lambda system: system.consumers)),
    Fault("pause redis", partial(_pause, among=lambda system: [system.redis])),
    Fault("pause broker", partial(_pause, among=lambda system: [system.broker])),
    Fault("restart redis", partial(_away, process=lambda system: system.redis, shortest_s=0, longest_s=0)),
    Fault("redis away", partial(_away, process=lambda system: system.redis, shortest_s=3, longest_s=15)),
    Fault(
        "restart broker",
        partial(_away, process=lambda system: system.broker, shortest_s=0, longest_s=0),
        _without_storage,
    ),
    Fault(
        "broker away",
        partial(_away, process=lambda system: system.broker, shortest_s=3, longest_s=15),
        _without_storage,
    ),
    Fault("disk full", _disk_full),
    Fault("slow network", _latency),
    Fault("stalled network", _stall),
    Fault("cut network", _cut),
    Fault("clock step", _clock_step, _without_clocks),
    Fault("poison entries", _poison),
)


def sequence(faults: Sequence[Fault], seed: int) -> Iterator[tuple[Fault, random.Random]]:
    """Yield faults without end, each with its own random generator. Equal seeds yield equal faults.

    Every fault occurs once before any fault occurs twice, so a run of a few minutes includes all.
    """
    number = 0
    while True:
        order = list(faults)
        random.Random(f"{seed}/{number}").shuffle(order)  # noqa: S311 - a seed makes a run repeatable
        for fault in order:
            number += 1
            yield fault, random.Random(f"{seed}/{number}/{fault.name}")  # noqa: S311 - as above
