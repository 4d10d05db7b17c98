"""Processes of `python -m services.consumers event_counter`: exact whoever is killed, is frozen, or comes and goes."""

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
_TANSU_JOINS_S = 30.0  # it takes 5 s for a join, and as long as a session to notice that a member is gone


@pytest.fixture
async def bench(redis_server: LocalRedis, kafka_broker: KafkaBroker) -> AsyncIterator[Bench]:
    async with open_bench(redis_server, kafka_broker) as opened:
        await opened.make_topics()
        yield opened


class Members:
    """Processes of one consumer's group; never more than the topic has partitions."""

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
        """Send the signal and wait; the exit code."""
        self.running.remove(member)
        member.process.send_signal(number)
        return member.process.wait(timeout_s=10)

    async def some_have_partitions(self) -> bool:
        return any("partitions_taken" in member.log.read_text() for member in self.running)

    async def start_again_on_tansu(self) -> bool:
        """Kill all and start one, once a test, where nothing moves on Tansu; whether that was done.

        When members were killed or stopped while they joined, it may leave the join of another unanswered, of any
        client. If a plain client is not let in either, with all of ours dead, the test is given up. On Apache Kafka
        nothing of this is ever done.
        """
        if self._started_again or not self.on_tansu:
            return False
        self._started_again = True
        for member in list(self.running):
            await asyncio.to_thread(self.end, member, signal.SIGKILL)
        if not await self._lets_a_plain_client_in():
            pytest.xfail(f"Tansu has let nobody into the group for {_TANSU_JOINS_S:.0f} s, whoever asks")
        self.start()
        return True

    async def _lets_a_plain_client_in(self) -> bool:
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
        """Return how many events each has counted since it was started, as its metrics say."""
        return {member: await asyncio.to_thread(_counted, member) for member in self.running}

    def state(self) -> str:
        """Tell what each runs at, for a failure's message."""
        return "\n".join(
            f"{member.label}: {_readiness(member)}\n{member.process.log_tail()}" for member in self.running
        )

    def logged(self) -> str:
        return "".join(path.read_text() for path in sorted(self._logs.iterdir()))


def _counted(member: ServiceProcess) -> float:
    try:
        metrics = member.metrics()
    except (OSError, HTTPException):
        return 0.0  # it does not listen yet
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
    """What was sent to the topic, against what the counter says of it.

    The topic is the real one, which other tests write to as well: types of its own say which events are of a test.
    """

    def __init__(self, bench: Bench, members: Members, before: Extent, begins: Mapping[int, int]) -> None:
        """Open them with the topic as it is before anything is sent; positions begin at `begins`."""
        self._bench, self._members, self._before, self._begins = bench, members, before, begins
        self._token = uuid.uuid4().hex[:8]
        self._sent: Counter[str] = Counter()

    async def send(self, count: int) -> None:
        batch = events([f"{self._token}-{number}" for number in range(7)], count=count)
        await self._bench.produce(batch)
        self._sent.update(event.type for event in batch)

    async def wait_until_counted(self) -> None:
        """Return when the positions are at the end of the topic, and the books balance there."""
        end = self._before.end + self._sent.total()
        extent = await self._bench.extent(at_least=end)
        assert extent.end == end, "what was sent is not what is in the topic"

        # However long it takes (a broker may be slow with what lies far back), but never standing still.
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

    async def on_stored(self) -> None:
        """Wait until counted, and on until no member can have anything in hand that it could count twice.

        A member writes what it has in hand before it polls again. So each must count events that were sent when all
        others had been counted.
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
    """Kill, stop, and start members at random moments, mostly while they count; at the end at least one runs."""
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


# Before those that kill: what they may do to a group on Tansu, it keeps.
async def test_process_is_ready_when_it_counts_and_stops_at_once_with_0(bench: Bench, members: Members) -> None:
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
async def test_sums_are_exact_when_members_are_killed_and_come_and_go(
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
        await asyncio.sleep(0.3)  # there is always something to count, and never more than Tansu gives in time
    history = await churning

    await ledger.on_stored()
    # -15: told to stop before Python had begun to run it.
    assert {move for move in history if move.startswith("stop")} <= {"stop -> 0", "stop -> -15"}, history
    assert '"level": "error"' not in members.logged()


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_member_that_was_frozen_past_its_session_counts_nothing_twice(bench: Bench, members: Members) -> None:
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
    await ledger.wait_until_counted()  # by the other one
    frozen.process.send_signal(signal.SIGCONT)
    await ledger.send(3000)
    await ledger.on_stored()


async def begin_at_the_end(bench: Bench) -> Extent:
    """Begin where the topic ends now: other tests have written to it too."""
    extent = await bench.extent()
    for partition, end in extent.ends.items():
        await bench.store.begin(COUNTER, partition, at=end)
    return extent
