"""No event is lost while consumers, workers and their processes are killed, servers restart, and storage is away."""

import asyncio
import contextlib
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import httpx
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.develop.localstack.kafka import KafkaBroker, KafkaKind
from deploy.develop.localstack.redis import LocalRedis
from services.backbone import names
from services.consumers.store.celery_queues import create_celery
from tests.contract.actions import proof
from tests.contract.actions.acting_bench import LEDGER, PARTITIONS, ActingBench, ProofProcess, environ_of, eventually

SEED = 7
RATE = 40
FAULT_EVERY_S = 3.0
AWAY_S = 6.0
SHOWN_S = 15
"""A consumer without a newer state is not shown."""
PROCESSES = 4
"""Of a worker, by default."""


@pytest.fixture
def own_broker(kafka_kind: KafkaKind, tmp_path: Path) -> Iterator[KafkaBroker]:
    """A broker that the test restarts."""
    broker = KafkaBroker(kafka_kind, data=tmp_path / "kafka", log=tmp_path / "kafka.log")
    broker.start()
    broker.wait_ready()
    yield broker
    broker.process.stop()


@pytest.fixture
def environ(own_redis: LocalRedis, clean_redis: LocalRedis, own_broker: KafkaBroker) -> dict[str, str]:
    """The effects are in another Redis than the actions, which is hurt."""
    return environ_of(own_redis, own_broker, PROOF_REDIS_URL=clean_redis.url)


class Chaos:
    """Two consumers and two workers, and the errors that hurt them."""

    def __init__(self, bench: ActingBench, logs: Path, redis: LocalRedis, broker: KafkaBroker) -> None:
        self._bench, self._logs, self._redis, self._broker = bench, logs, redis, broker
        self._random = random.Random(SEED)
        self._environ = bench.environ | {
            "PROOF_TOPIC": names.EVENTS_TOPIC,
            "PROOF_GROUP": names.consumer_group(proof.NAME),
        }
        self.workers = [self._new("worker") for _ in range(2)]
        self.consumers = [self._new("consumer") for _ in range(2)]
        self.kills = self.restarts = 0

    def _new(self, kind: str) -> ProofProcess:
        process = ProofProcess(self._environ, self._logs, kind=kind)
        process.start()
        return process

    async def kill_worker(self) -> None:
        self.kills += 1
        await asyncio.to_thread(self._random.choice(self.workers).kill)

    async def kill_child(self) -> None:
        """Kill one process of a worker's pool."""
        pid = self._random.choice(self.workers).process.pid
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            worker = psutil.Process(pid)
            pool = [child for child in worker.children(recursive=True) if child.parent() != worker]
            if pool:
                self._random.choice(pool).kill()
                self.kills += 1

    async def kill_consumer(self) -> None:
        await asyncio.to_thread(self._random.choice(self.consumers).kill)

    async def restart_redis(self) -> None:
        await asyncio.to_thread(self._redis.process.stop)
        await asyncio.sleep(1)
        self._redis.start()
        await asyncio.to_thread(self._redis.wait_ready)

    async def restart_broker(self) -> None:
        if self._broker.kind != "apache":
            return  # Tansu loses its data at a restart
        await asyncio.to_thread(self._broker.process.stop)
        self._broker.start()
        await asyncio.to_thread(self._broker.wait_ready)

    async def send_storage_away(self, seconds: float = AWAY_S) -> None:
        await self._bench.set_away(is_away=True)
        await asyncio.sleep(seconds)
        await self._bench.set_away(is_away=False)

    @property
    def errors(self) -> list[Callable[[], Awaitable[None]]]:
        kills = [self.kill_worker, self.kill_child, self.kill_worker, self.kill_child, self.kill_consumer]
        return [*kills, self.restart_redis, self.restart_broker, self.send_storage_away]

    async def inject(self, until_s: float, errors: Sequence[Callable[[], Awaitable[None]]]) -> None:
        """Inject each error once, in a random order, then random ones."""
        coming = self._random.sample(errors, len(errors))
        while time.monotonic() < until_s:
            await (coming.pop() if coming else self._random.choice(errors))()
            await asyncio.sleep(FAULT_EVERY_S)

    async def supervise(self) -> None:
        """Start processes again that have ended, as every container does."""
        while True:
            for process in (*self.workers, *self.consumers):
                if not process.process.is_alive:
                    self.restarts += 1
                    process.start()
            await asyncio.sleep(0.5)

    def ended(self) -> float:
        """Return the number of actions that are done or dead, from the metrics of a worker. -1 while it starts."""
        try:
            return self.workers[0].metric("push_action_ended")
        except httpx.HTTPError:
            return -1.0

    def stop(self) -> None:
        for process in (*self.consumers, *self.workers):
            process.process.terminate()
        for process in (*self.consumers, *self.workers):
            process.process.stop()


@pytest.fixture
async def chaos(
    acting_bench: ActingBench, tmp_path: Path, own_redis: LocalRedis, own_broker: KafkaBroker
) -> AsyncIterator[Chaos]:
    found = Chaos(acting_bench, tmp_path, own_redis, own_broker)
    for process in (*found.workers, *found.consumers):
        await asyncio.to_thread(process.wait_until_ready)
    supervising = asyncio.create_task(found.supervise())
    yield found
    supervising.cancel()
    await asyncio.to_thread(found.stop)


@pytest.mark.slow
async def test_worker_that_could_acknowledge_nothing_ends(
    acting_bench: ActingBench, own_redis: LocalRedis, tmp_path: Path
) -> None:
    worker = ProofProcess(acting_bench.environ, tmp_path)
    worker.start()
    await asyncio.to_thread(worker.wait_until_ready)
    async with acting_bench.consuming():
        await acting_bench.produce(range(PROCESSES), seconds=1.0)

        async def is_busy() -> bool:
            return sum([await acting_bench.begun(number) for number in range(PROCESSES)]) == PROCESSES

        await eventually(is_busy)
    await asyncio.to_thread(own_redis.process.stop)
    try:
        # Each process interrupts its action after 2 s, can report nothing, and its task can't be acknowledged.
        assert await asyncio.to_thread(worker.process.wait, timeout_s=30) == 1
    finally:
        worker.process.stop()


@pytest.mark.usefixtures("true_end_offsets")
async def test_consumer_is_shown_with_its_last_lag_while_the_broker_is_down(
    acting_bench: ActingBench, own_broker: KafkaBroker
) -> None:
    async def shown(lag: int) -> bool:
        (state,) = await acting_bench.store.overview.states([proof.NAME])
        return (state.consumers, state.lag) == (1, lag)

    async with acting_bench.consuming():
        await acting_bench.produce(range(20))
        await eventually(lambda: shown(20))
        await asyncio.to_thread(own_broker.process.stop)
        await asyncio.sleep(SHOWN_S + 1)
        await eventually(lambda: shown(20), limit_s=SHOWN_S)


async def load(bench: ActingBench, is_over: Callable[[], bool]) -> int:
    """Produce events at a rate. Return their number. What the broker does not take is produced again."""
    number = 0
    while not is_over():
        while not await bench.produced(range(number, number + RATE // 4), seconds=0.02):
            pass
        number += RATE // 4
        await asyncio.sleep(0.25)
    return number


async def end_offsets(bench: ActingBench) -> int:
    """Return the sum of the end offsets of the topic."""
    partitions = [TopicPartition(names.EVENTS_TOPIC, partition) for partition in range(PARTITIONS)]
    async with AIOKafkaConsumer(bootstrap_servers=bench.settings.bootstrap_servers) as client:
        return sum((await client.end_offsets(partitions)).values())


async def assert_all_acted(bench: ActingBench, chaos: Chaos, produced: int, *, limit_s: float = 150.0) -> Counter[str]:
    """Wait for the effect of each event and for the ledger: committed = acted + dead. Return the effects."""

    async def all_acted() -> bool:
        return len(await bench.effects()) == produced

    await eventually(all_acted, limit_s=limit_s)
    ends = await end_offsets(bench)

    async def all_committed() -> bool:
        return await bench.committed() == ends

    await eventually(all_committed, limit_s=60)
    assert ends >= produced

    async def all_ended() -> bool:
        return await asyncio.to_thread(chaos.ended) == produced

    await eventually(all_ended, limit_s=30)
    for consumer in chaos.consumers:  # each counts since its last start
        taken, *rest = [await asyncio.to_thread(consumer.metric, f"push_action_{name}") for name in LEDGER]
        assert taken == sum(rest)
        assert rest[-1] == 0
    assert await bench.dead() == []
    return await bench.effects()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seconds", [45, pytest.param(240, marks=pytest.mark.endurance)])
async def test_no_event_is_lost_while_everything_fails(
    acting_bench: ActingBench, chaos: Chaos, capsys: pytest.CaptureFixture[str], seconds: int
) -> None:
    until_s = time.monotonic() + seconds
    produced, _ = await asyncio.gather(
        load(acting_bench, lambda: time.monotonic() >= until_s), chaos.inject(until_s, chaos.errors)
    )
    effects = await assert_all_acted(acting_bench, chaos, produced)
    repeated = sum(count - 1 for count in effects.values())
    with capsys.disabled():
        sys.stdout.write(f"\n{produced} events, {chaos.kills} kills of workers: 0 lost, {repeated} effects repeated\n")
    # A kill between an effect and its report repeats the effect. Each kill meets at most all processes of a worker.
    assert repeated <= PROCESSES * (chaos.kills + chaos.restarts)


ERRORS = ("kill_worker", "kill_child", "kill_consumer", "restart_redis", "restart_broker")


@pytest.mark.endurance
@pytest.mark.timeout(900)
@pytest.mark.parametrize("error", ERRORS)
async def test_no_event_is_lost_in_three_minutes_of_one_error(
    acting_bench: ActingBench, chaos: Chaos, capsys: pytest.CaptureFixture[str], error: str
) -> None:
    until_s = time.monotonic() + 180
    produced, _ = await asyncio.gather(
        load(acting_bench, lambda: time.monotonic() >= until_s), chaos.inject(until_s, [getattr(chaos, error)])
    )
    effects = await assert_all_acted(acting_bench, chaos, produced)
    repeated = sum(count - 1 for count in effects.values())
    with capsys.disabled():
        sys.stdout.write(f"\n{error}: {produced} events, 0 lost, {repeated} effects repeated, 0 dead\n")
    assert repeated <= PROCESSES * (chaos.kills + chaos.restarts)


@pytest.mark.endurance
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("away_s", [60, 600])
async def test_outage_of_storage_fills_no_dead_list(
    acting_bench: ActingBench, chaos: Chaos, capsys: pytest.CaptureFixture[str], away_s: int
) -> None:
    until_s = time.monotonic() + away_s + 20
    produced, _ = await asyncio.gather(
        load(acting_bench, lambda: time.monotonic() >= until_s), chaos.send_storage_away(away_s)
    )
    effects = await assert_all_acted(acting_bench, chaos, produced, limit_s=600)
    with capsys.disabled():
        sys.stdout.write(f"\nstorage away for {away_s} s: {produced} events, 0 lost, 0 dead\n")
    assert set(effects.values()) == {1}


KILLS = 50
_UNACKED = "unacked"
"""The key of Celery's tasks that a worker has taken and not acknowledged."""


@pytest.mark.endurance
@pytest.mark.timeout(900)
async def test_fifty_kills_of_workers_lose_no_event(
    acting_bench: ActingBench, chaos: Chaos, capsys: pytest.CaptureFixture[str]
) -> None:
    async def kill() -> None:
        while chaos.kills < KILLS:
            await chaos.kill_worker()
            await asyncio.sleep(1)

    killing = asyncio.create_task(kill())
    produced = await load(acting_bench, killing.done)
    await assert_all_acted(acting_bench, chaos, produced)
    with capsys.disabled():
        sys.stdout.write(f"\n{produced} events, {KILLS} kills of workers: 0 lost\n")


@pytest.mark.endurance
@pytest.mark.timeout(900)
async def test_fifty_kills_of_workers_of_bare_celery(
    acting_bench: ActingBench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Print what the same kills cost without a consumer that sends lost tasks again. How much it is is chance."""
    workers = [ProofProcess(acting_bench.environ, tmp_path, kind="bare") for _ in range(2)]
    for worker in workers:
        worker.start()
    app, chance = create_celery(acting_bench.settings), random.Random(SEED)
    sent = 0

    async def send() -> None:
        nonlocal sent
        while True:
            for _ in range(RATE // 4):
                await asyncio.to_thread(app.send_task, proof.BARE_TASK, [sent], queue=proof.BARE_QUEUE)
                sent += 1
            await asyncio.sleep(0.25)

    sending = asyncio.create_task(send())
    for _ in range(KILLS):
        worker = chance.choice(workers)
        await asyncio.to_thread(worker.kill)
        worker.start()
        await asyncio.sleep(1)
    sending.cancel()

    async def is_empty() -> bool:
        redis = acting_bench.redis
        return await redis.llen(proof.BARE_QUEUE) + await redis.hlen(_UNACKED) == 0

    # Celery delivers the tasks of killed workers again after the visibility timeout.
    await eventually(is_empty, limit_s=120)
    effects = len(await acting_bench.effects())
    for worker in workers:
        worker.process.stop()
    app.close()
    with capsys.disabled():
        sys.stdout.write(f"\nbare Celery: {sent} tasks, {KILLS} kills of workers: {sent - effects} lost\n")
    assert 0 < effects <= sent
