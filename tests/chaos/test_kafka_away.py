"""Kafka is down for a minute under load: events wait in Redis, and the memory of kafkastore stays flat."""

import asyncio
import signal

import pytest

from deploy.chaos import verify
from deploy.chaos.system import ChaosSystem
from tests.chaos.outage import OutageResult, measure

MIB = 1024 * 1024
RATE = 500
AWAY_S = (
    pytest.param(30, marks=[pytest.mark.slow, pytest.mark.measures]),
    pytest.param(60, marks=pytest.mark.endurance),
)

pytestmark = pytest.mark.timeout(400)


async def assert_kept_and_caught_up(system: ChaosSystem, result: OutageResult, *, away_s: float) -> None:
    print(  # noqa: T201 - the figures are what this test is run for
        f"memory {result.rss_before / MIB:.0f} -> at most {result.rss_most / MIB:.0f} MiB (two kafkastores), "
        f"backlog {result.backlog:,}, caught up in {result.caught_up_s:.1f} s, "
        f"live {result.live_rate:.0f}/s, catching up {result.catch_up_rate:.0f}/s"
    )
    assert await system.wait_until_drained(waiting=0, limit_s=60) is not None
    contents = await verify.read_topics(system.stack.bootstrap_servers)
    assert verify.lost(result.acknowledged, contents) == set()
    assert result.backlog > away_s * RATE / 2
    assert result.rss_most - result.rss_before < 48 * MIB, "events wait in kafkastore, not in Redis"
    assert result.catch_up_rate > 2 * result.live_rate


@pytest.mark.parametrize("away_s", AWAY_S)
async def test_kafkastore_memory_stays_flat_when_the_broker_hangs(system: ChaosSystem, away_s: float) -> None:
    async def leave() -> None:
        system.broker.send_signal(signal.SIGSTOP)

    async def come_back() -> None:
        system.broker.send_signal(signal.SIGCONT)

    result = await measure(system, leave=leave, come_back=come_back, away_s=away_s, rate=RATE)
    await assert_kept_and_caught_up(system, result, away_s=away_s)


@pytest.mark.parametrize("away_s", AWAY_S)
async def test_kafkastore_memory_stays_flat_when_the_broker_is_stopped(system: ChaosSystem, away_s: float) -> None:
    async def leave() -> None:
        await system.take_down(system.broker)

    async def come_back() -> None:
        system.broker.start()
        await asyncio.to_thread(system.stack.kafka.wait_ready)

    if system.stack.kafka.kind != "apache":
        pytest.skip("Tansu loses its data at a restart")
    result = await measure(system, leave=leave, come_back=come_back, away_s=away_s, rate=RATE)
    await assert_kept_and_caught_up(system, result, away_s=away_s)
