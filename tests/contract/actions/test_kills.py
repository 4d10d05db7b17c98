"""No event is lost while consumers, workers and their processes are killed, Redis restarts, and storage is away."""

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from deploy.develop.localstack.kafka import KafkaBroker
from deploy.develop.localstack.redis import LocalRedis
from services.backbone import names
from tests.contract.actions import proof
from tests.contract.actions.acting_bench import ActingBench, ProofProcess, environ_of, eventually

SEED = 7
RATE = 40
FAULT_EVERY_S = 3.0
AWAY_S = 6.0


@pytest.fixture
def environ(own_redis: LocalRedis, clean_redis: LocalRedis, kafka_broker: KafkaBroker) -> dict[str, str]:
    """The effects are in another Redis than the actions, which is hurt."""
    return environ_of(own_redis, kafka_broker, PROOF_REDIS_URL=clean_redis.url)


class Chaos:
    """Two consumers and two workers, and the faults that hurt them."""

    def __init__(self, bench: ActingBench, logs: Path, redis: LocalRedis) -> None:
        self._bench, self._logs, self._redis = bench, logs, redis
        self._random = random.Random(SEED)
        self._environ = bench.environ | {
            "PROOF_TOPIC": names.EVENTS_TOPIC,
            "PROOF_GROUP": names.consumer_group(proof.NAME),
        }
        self.workers = [self._new("worker") for _ in range(2)]
        self.consumers = [self._new("consumer") for _ in range(2)]
        self.kills = 0

    def _new(self, kind: str) -> ProofProcess:
        process = ProofProcess(self._environ, self._logs, kind=kind)
        process.start()
        return process

    async def kill_worker(self) -> None:
        self.kills += 1
        await asyncio.to_thread(self._restart, self._random.choice(self.workers))

    async def kill_child(self) -> None:
        """Kill one process of a worker's pool."""
        worker = psutil.Process(self._random.choice(self.workers).process.pid)
        pool = [child for child in worker.children(recursive=True) if child.parent() != worker]
        if pool:
            self.kills += 1
            self._random.choice(pool).kill()

    async def kill_consumer(self) -> None:
        await asyncio.to_thread(self._restart, self._random.choice(self.consumers))

    async def restart_redis(self) -> None:
        await asyncio.to_thread(self._redis.process.stop)
        await asyncio.sleep(1)
        self._redis.start()
        await asyncio.to_thread(self._redis.wait_ready)

    async def send_storage_away(self) -> None:
        await self._bench.set_away(is_away=True)
        await asyncio.sleep(AWAY_S)
        await self._bench.set_away(is_away=False)

    @property
    def errors(self) -> list[Callable[[], Awaitable[None]]]:
        kills = [self.kill_worker, self.kill_child, self.kill_worker, self.kill_child, self.kill_consumer]
        return [*kills, self.restart_redis, self.send_storage_away]

    async def inject(self, until_s: float) -> None:
        while time.monotonic() < until_s:
            await self._random.choice(self.errors)()
            await asyncio.sleep(FAULT_EVERY_S)

    def stop(self) -> None:
        for process in (*self.consumers, *self.workers):
            process.process.terminate()
        for process in (*self.consumers, *self.workers):
            process.process.stop()

    @staticmethod
    def _restart(process: ProofProcess) -> None:
        process.kill()
        process.start()


@pytest.fixture
async def chaos(acting_bench: ActingBench, tmp_path: Path, own_redis: LocalRedis) -> AsyncIterator[Chaos]:
    found = Chaos(acting_bench, tmp_path, own_redis)
    for process in (*found.workers, *found.consumers):
        await asyncio.to_thread(process.wait_until_ready)
    yield found
    await asyncio.to_thread(found.stop)


async def load(bench: ActingBench, until_s: float) -> int:
    """Produce events at a rate. Return their number."""
    number = 0
    while time.monotonic() < until_s:
        await bench.produce(range(number, number + RATE // 4), seconds=0.02)
        number += RATE // 4
        await asyncio.sleep(0.25)
    return number


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seconds", [45, pytest.param(240, marks=pytest.mark.endurance)])
async def test_no_event_is_lost_while_processes_are_killed(
    acting_bench: ActingBench, chaos: Chaos, capsys: pytest.CaptureFixture[str], seconds: int
) -> None:
    until_s = time.monotonic() + seconds
    produced, _ = await asyncio.gather(load(acting_bench, until_s), chaos.inject(until_s))

    async def all_acted() -> bool:
        return len(await acting_bench.effects()) == produced

    await eventually(all_acted, limit_s=150)

    async def is_committed() -> bool:
        return await acting_bench.committed() == produced

    await eventually(is_committed, limit_s=60)
    effects = await acting_bench.effects()
    repeated = sum(count - 1 for count in effects.values())
    with capsys.disabled():
        sys.stdout.write(f"\n{produced} events, {chaos.kills} kills of workers: 0 lost, {repeated} effects repeated\n")
    # A kill between an effect and its report repeats the effect. Each kill meets at most all processes of a worker.
    assert repeated <= 4 * chaos.kills
    assert await acting_bench.dead() == []
