"""Processes of `python -m services.consumers event_counter` count exactly while members are killed and frozen."""

import asyncio
import contextlib
import random
import re
import signal
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from http.client import HTTPException
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer

from deploy.develop.localstack.kafka import KafkaBroker
from deploy.develop.localstack.redis import LocalRedis
from deploy.develop.localstack.services import ServiceProcess
from services.backbone import names
from tests.contract.consumer_bench import Bench, Extent, events, eventually, open_bench

COUNTER = "event_counter"
_STILL_S = 30.0
_TANSU_JOINS_S = 30.0  # a join takes 5 s, and noticing a dead member takes a whole session


@pytest.fixture
async def bench(redis_server: LocalRedis, kafka_broker: KafkaBroker) -> AsyncIterator[Bench]:
    async with open_bench(redis_server, kafka_broker) as opened:
        await opened.make_topics()
        yield opened


class Members:
    """The processes of one consumer's group; never more than the topic has partitions."""

    def __init__(self, bench: Bench, logs: Path) -> None:
        self._bench, self._logs = bench, logs
        self._environ = {**bench.environ, "LOG_FORMAT": "json"}
        self._started = 0
        self._started_again = False
        self.running: list[ServiceProcess] = []
        self.on_tansu = bench.has_tansu

    def start(self) -> ServiceProcess:
        label = f"{COUNTER}-{self._started}"
        member = ServiceProcess("consumers", COUNTER, label=label, logs=self._logs, env=self._environ)
        member.start()
        self._started += 1
        self.running.append(member)
        return member

    def end(self, member: ServiceProcess, number: signal.Signals) -> int:
        """Send the signal, wait, and return the exit code."""
        self.running.remove(member)
        member.process.send_signal(number)
        return member.process.wait(timeout_s=10)

    async def some_have_partitions(self) -> bool:
        return any("partitions_taken" in member.log.read_text() for member in self.running)

    async def start_again_on_tansu(self) -> bool:
        """Kill all members and start one when the group hangs on Tansu. Return whether it did.

        It does so once per test. After a member was killed or stopped during its join, Tansu may never respond to the
        next join of any client. If a plain client can't join either while all members are dead, the test is an expected
        failure. On Apache Kafka this method does nothing.
        """
        if self._started_again or not self.on_tansu:
            return False
        self._started_again = True
        for member in list(self.running):
            await asyncio.to_thread(self.end, member, signal.SIGKILL)
        if not await self._plain_client_can_join():
            pytest.xfail(f"no client could join the group on Tansu within {_TANSU_JOINS_S:.0f} s")
        self.start()
        return True

    async def _plain_client_can_join(self) -> bool:
        client = AIOKafkaConsumer(
            names.EVENTS_TOPIC,
            bootstrap_servers=self._bench.settings.bootstrap_servers,
            group_id=names.consumer_group(COUNTER),
            enable_auto_commit=False,
        )
        joining = asyncio.create_task(client.start())
        done, _ = await asyncio.wait({joining}, timeout=_TANSU_JOINS_S)
        joining.cancel()
        await asyncio.gather(joining, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(client.stop(), timeout=5)
        return bool(done)

    async def counted(self) -> dict[ServiceProcess, float]:
        """Return how many events each member has counted since its start, from its metrics."""
        return {member: await asyncio.to_thread(_counted, member) for member in self.running}

    def state(self) -> str:
        """Return the readiness and the last log lines of each member, for a failure message."""
        return "\n".join(
            f"{member.label}: {_readiness(member)}\n{member.process.log_tail()}" for member in self.running
        )

    def logged(self) -> str:
        return "".join(path.read_text() for path in sorted(self._logs.iterdir()))


def _counted(member: ServiceProcess) -> float:
    try:
        metrics = member.metrics()
    except (OSError, HTTPException):
        return 0.0  # the internal port is not open yet
    found = re.search(r"^push_consumer_events_counted_total\{.*\} (\S+)$", metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _readiness(member: ServiceProcess) -> str:
    try:
        return member._get("/readyz")[1]
    except (OSError, HTTPException) as error:
        return f"exit code {member.process.exit_code}, {error}"


@pytest.fixture
def members(bench: Bench, tmp_path: Path) -> Iterator[Members]:
    group = Members(bench, tmp_path)
    yield group
    for member in list(group.running):
        group.end(member, signal.SIGKILL)


class Ledger:
    """Compares the events sent to the topic with the counter.

    Other tests write to the same topic. Types with a random prefix identify the events of this test.
    """

    def __init__(self, bench: Bench, members: Members, before: Extent, begins: Mapping[int, int]) -> None:
        """Start with the extent of the topic before the first event. Positions begin at `begins`."""
        self._bench, self._members, self._before, self._begins = bench, members, before, begins
        self._token = uuid.uuid4().hex[:8]
        self._sent: Counter[str] = Counter()

    async def send(self, count: int) -> None:
        batch = events([f"{self._token}-{number}" for number in range(7)], count=count)
        await self._bench.produce(batch)
        self._sent.update(event.type for event in batch)

    async def wait_until_counted(self) -> None:
        """Wait until the positions are at the end of the topic, and check that the ledger balances."""
        end = self._before.end + self._sent.total()
        extent = await self._bench.extent(at_least=end)
        assert extent.end == end, "the topic does not contain exactly the sent events"

        # No limit for the total time, because a broker may read old records slowly. But the positions must keep moving.
        positions, moved_s = dict[int, int](), time.monotonic()
        while positions != extent.ends:
            before, positions = positions, await self._bench.store.positions(COUNTER)
            if positions != before:
                moved_s = time.monotonic()
            if time.monotonic() > moved_s + _STILL_S:
                behind = f"counted up to {positions}, the topic ends at {extent.ends}\n{self._members.state()}"
                if not await self._members.start_again_on_tansu():
                    pytest.fail(behind)
                moved_s = time.monotonic()
            await asyncio.sleep(0.05)
        progress = await self._bench.store.progress(COUNTER)
        passed = end - sum(self._begins.values())
        assert passed == progress.passed
        counts = await self._bench.store.counts(COUNTER)
        assert {label: count for label, count in counts.items() if label.startswith(self._token)} == self._sent

    async def wait_until_idle(self) -> None:
        """Wait until all is counted and no member holds a batch that it could count twice.

        A member writes its batch before it polls again. So wait until each member has counted events that were sent
        after all others were counted.
        """
        await self.wait_until_counted()
        before = await self._members.counted()

        async def each_has_counted_more() -> bool:
            await self.send(30)
            now = await self._members.counted()
            return all(now[member] > before[member] for member in self._members.running)

        await eventually(each_has_counted_more)
        await self.wait_until_counted()


async def some_have_partitions(members: Members) -> None:
    try:
        await eventually(members.some_have_partitions, limit_s=_TANSU_JOINS_S if members.on_tansu else 60.0)
    except AssertionError:
        if not await members.start_again_on_tansu():
            raise
        await eventually(members.some_have_partitions)


async def churn(members: Members, chance: random.Random, *, moves: int) -> list[str]:
    """Kill, stop and start members at random moments, mostly while they count. At the end at least one runs."""
    history = []
    for _ in range(moves):
        if chance.random() < 0.8:
            await some_have_partitions(members)
        await asyncio.sleep(chance.uniform(0.0, 1.0))
        move = chance.choice(["kill", "kill", "stop", "start"])
        if not members.running or (move == "start" and len(members.running) < 3):
            members.start()
            history.append("start")
            continue
        member = chance.choice(members.running)
        code = await asyncio.to_thread(members.end, member, signal.SIGTERM if move == "stop" else signal.SIGKILL)
        history.append(f"{move} -> {code}")
        if not members.running or chance.random() < 0.5:
            members.start()
    return history


# First in this file: a kill may damage a group on Tansu for all later tests.
async def test_process_is_ready_while_it_counts_and_exits_with_0_on_sigterm(bench: Bench, members: Members) -> None:
    before = await begin_at_the_end(bench)
    ledger = Ledger(bench, members, before, before.ends)
    member = members.start()

    async def ready() -> bool:
        return await asyncio.to_thread(member.is_ready)

    assert not await ready()
    await eventually(ready)
    await ledger.send(30)
    await ledger.wait_until_counted()
    assert await ready()

    began = time.monotonic()
    assert await asyncio.to_thread(members.end, member, signal.SIGTERM) == 0
    assert time.monotonic() - began < 5.0


@pytest.mark.parametrize(
    "seed_and_moves",
    [(1, 3), pytest.param((2, 9), marks=pytest.mark.slow), pytest.param((3, 9), marks=pytest.mark.slow)],
    ids=str,
)
@pytest.mark.timeout(240)
async def test_sums_are_exact_while_members_are_killed_stopped_and_started(
    seed_and_moves: tuple[int, int], bench: Bench, members: Members
) -> None:
    seed, moves = seed_and_moves
    chance = random.Random(seed)
    before = await bench.extent()
    ledger = Ledger(bench, members, before, before.begins)

    members.start()
    churning = asyncio.create_task(churn(members, chance, moves=moves))
    while not churning.done():
        await ledger.send(chance.randint(1, 400))
        await asyncio.sleep(0.3)  # there is always a batch to count, and Tansu keeps up
    history = await churning

    await ledger.wait_until_idle()
    # -15: SIGTERM arrived before Python had installed its handler.
    assert {move for move in history if move.startswith("stop")} <= {"stop -> 0", "stop -> -15"}, history
    assert '"level": "error"' not in members.logged()


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_member_counts_nothing_twice_after_a_freeze_longer_than_its_session(
    bench: Bench, members: Members
) -> None:
    before = await begin_at_the_end(bench)
    ledger = Ledger(bench, members, before, before.ends)
    frozen = members.start()
    await ledger.send(3000)

    async def begun() -> bool:
        return (await bench.store.progress(COUNTER)).events > 0

    await eventually(begun)
    frozen.process.send_signal(signal.SIGSTOP)
    members.start()
    await ledger.send(3000)
    await ledger.wait_until_counted()  # counted by the other member
    frozen.process.send_signal(signal.SIGCONT)
    await ledger.send(3000)
    await ledger.wait_until_idle()


async def begin_at_the_end(bench: Bench) -> Extent:
    """Set the positions to the current end of the topic, because other tests have written to it."""
    extent = await bench.extent()
    for partition, end in extent.ends.items():
        await bench.store.begin(COUNTER, partition, at=end)
    return extent
