"""A topic of its own, a Redis that may be hurt, an action consumer in the test process, and workers as processes."""

import asyncio
import contextlib
import os
import signal
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from deploy.develop.localstack.kafka import KafkaBroker
from deploy.develop.localstack.ports import LOOPBACK, free_port
from deploy.develop.localstack.processes import LocalProcess
from deploy.develop.localstack.redis import LocalRedis
from deploy.paths import ROOT
from services.backbone import names
from services.backbone.dead_actions import DeadAction
from services.backbone.events import Event, encode_event
from services.backbone.kafka import EventProducer, KafkaUnavailable, Record
from services.consumers.core.actions import ActionRule
from services.consumers.metrics import ActionMetrics
from services.consumers.settings import Settings
from services.consumers.store.actions import ActionStore
from services.consumers.store.celery_queues import ActionQueues, create_celery
from services.consumers.worker.acting import ActionConsumer
from tests.contract.actions import proof

PARTITIONS = 3
LEDGER = ("taken_total", "acted_total", "dead_total", "dropped_total", "unfinished")
TIME_LIMIT_S = 4


def environ_of(redis: LocalRedis, broker: KafkaBroker, **changed: str) -> dict[str, str]:
    return {
        "ACTIONS_REDIS_URL": redis.url,
        "PROOF_REDIS_URL": redis.url.removesuffix("0") + "1",  # not emptied together with the actions
        "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "KAFKA_IDEMPOTENCE": "on" if broker.idempotence else "off",
        "CONSUMERS_POLL_WAIT_S": "0.2",
        "CONSUMERS_LAG_INTERVAL_S": "0.2",
        "ACTIONS_TIME_LIMIT_S": str(TIME_LIMIT_S),
        "ACTIONS_SOFT_TIME_LIMIT_S": "2",
        "ACTIONS_VISIBILITY_TIMEOUT_S": "8",
        "ACTIONS_BACKOFF_S": "0.1",
        "ACTIONS_PING_S": "0.5",
        **changed,
    }


def environ_of_pages(redis: LocalRedis, **changed: str) -> dict[str, str]:
    return {
        "CONSUMERS_PORT": str(free_port()),
        "CONSUMERS_PASSWORD": "a long enough password",
        "ACTIONS_REDIS_URL": redis.url,
        "LOG_FORMAT": "json",
        **changed,
    }


class ProofProcess:
    """A worker or a consumer with the handler of tests."""

    def __init__(self, environ: dict[str, str], logs: Path, *, kind: str = "worker") -> None:
        port = free_port()
        self.url = f"http://{LOOPBACK}:{port}"
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        env = {**inherited, **environ, "INTERNAL_PORT": str(port), "PYTHONPATH": str(ROOT), "LOG_FORMAT": "json"}
        command = [sys.executable, proof.__file__, kind]
        label = f"{kind}-{port}"
        self.process = LocalProcess(label, command, log=logs / f"{label}.log", env=env, cwd=ROOT)

    def start(self) -> None:
        self.process.start()

    def wait_until_ready(self) -> None:
        self.process.wait_until(self._is_ready, timeout_s=60)

    def kill(self) -> None:
        """Kill the process, its worker, and the processes of the worker."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # it leads the group of all its processes
        self.process.wait(timeout_s=10)

    def metric(self, name: str) -> float:
        """Return the sum of a metric."""
        lines = httpx.get(f"{self.url}/metrics", timeout=5).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=3).status_code == 200
        except httpx.HTTPError:
            return False


class ActingBench:
    """What the tests of the action consumers share."""

    def __init__(self, environ: dict[str, str], producer: EventProducer, redis: Redis, effects: Redis) -> None:
        self.environ = environ
        self.settings = Settings.from_env(environ)
        self.producer = producer
        self.redis = redis
        self._effects = effects
        self.store = ActionStore(redis, time_limit_s=self.settings.time_limit_s)
        self.registries: dict[ActionConsumer, CollectorRegistry] = {}

    async def produce(self, numbers: Iterable[int], **params: Any) -> None:
        """Produce an event for each number, spread over the partitions."""
        assert await self.produced(numbers, **params)

    async def produced(self, numbers: Iterable[int], **params: Any) -> bool:
        """Produce events. Return whether the broker has taken all of them."""
        now_ms = time.time_ns() // 1_000_000
        records = [self._record(number, now_ms, params) for number in numbers]
        try:
            return not await self.producer.produce(names.EVENTS_TOPIC, records)
        except KafkaUnavailable:
            return False

    def _record(self, number: int, now_ms: int, params: dict[str, Any]) -> Record:
        query = urlencode({"number": number, **params})
        event = Event(type="proof", id=f"event-{number}", received_at_ms=now_ms, queue_delay_ms=0, params=query)
        key = b"device-%d" % (number % 20)  # two records are one event only if their keys are equal
        return Record(
            encode_event(event), key, headers=((names.HEADER_EVENT_ID, event.id.encode()),), timestamp_ms=now_ms
        )

    async def produce_event(self, kind: str, id_: str, query: Any, *, received_at_ms: int | None = None) -> None:
        """Produce one event of any type, now or at a time."""
        now_ms = received_at_ms or time.time_ns() // 1_000_000
        params = urlencode(query, doseq=True)
        event = Event(type=kind, id=id_, received_at_ms=now_ms, queue_delay_ms=0, params=params)
        assert await self.producer.produce(names.EVENTS_TOPIC, [Record(encode_event(event), b"key")]) == []

    @contextlib.asynccontextmanager
    async def consuming(self, rule: ActionRule = proof.RULE, /, **changed: str) -> AsyncIterator[ActionConsumer]:
        """Run a consumer until the block ends."""
        settings = Settings.from_env({**self.environ, **changed})
        queues = ActionQueues(create_celery(settings))
        registry = CollectorRegistry()
        metrics = ActionMetrics(registry)
        consumer = ActionConsumer(rule, settings, self.store, queues, metrics)
        self.registries[consumer] = registry
        acting = asyncio.create_task(consumer.act_forever())
        try:
            yield consumer
        finally:
            consumer.stopping = True
            acting.cancel()
            await asyncio.gather(acting, return_exceptions=True)
            queues.close()

    def metric(self, consumer: ActionConsumer, name: str) -> float:
        """Return a metric of a consumer of the handler of tests."""
        found = self.registries[consumer].get_sample_value(f"push_action_{name}", {"handler": proof.NAME})
        assert found is not None
        return found

    def is_balanced(self, consumer: ActionConsumer) -> bool:
        """Return whether each taken event is acted on, dead, dropped or unfinished."""
        taken, *rest = (self.metric(consumer, name) for name in LEDGER)
        return taken == sum(rest)

    async def effects(self) -> Counter[str]:
        """Return how often each action has had its effect, by number."""
        found: Any = await self._effects.lrange(proof.EFFECTS, 0, -1)
        return Counter(msgspec.json.decode(each)[0] for each in found)

    async def values(self) -> list[Any]:
        found: Any = await self._effects.lrange(proof.EFFECTS, 0, -1)
        return [msgspec.json.decode(each)[1] for each in found]

    async def begun(self, number: int) -> int:
        """Return how often an action was begun."""
        return int(await self._effects.hget(proof.BEGUN, str(number)) or 0)

    async def set_away(self, *, is_away: bool) -> None:
        await (self._effects.set(proof.AWAY, "1") if is_away else self._effects.delete(proof.AWAY))

    async def dead(self) -> list[DeadAction]:
        return await self.store.dead.find()

    async def delete_records(self, *, keep: int) -> int:
        """Delete all but the last records of each partition, as retention does. Return how many are kept."""
        partitions = [TopicPartition(names.EVENTS_TOPIC, partition) for partition in range(PARTITIONS)]
        async with AIOKafkaConsumer(bootstrap_servers=self.settings.bootstrap_servers) as client:
            ends = await client.end_offsets(partitions)
        admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.bootstrap_servers)
        await admin.start()
        await admin.delete_records({each: RecordsToDelete(before_offset=end - keep) for each, end in ends.items()})
        await admin.close()
        return keep * PARTITIONS

    async def committed(self, name: str = proof.NAME) -> int:
        """Return the sum of the committed offsets of the group."""
        client = AIOKafkaConsumer(
            bootstrap_servers=self.settings.bootstrap_servers,
            group_id=names.consumer_group(name),
            enable_auto_commit=False,
        )
        partitions = [TopicPartition(names.EVENTS_TOPIC, partition) for partition in range(PARTITIONS)]
        client.assign(partitions)  # it joins no group
        await client.start()
        try:
            return sum([await client.committed(partition) or 0 for partition in partitions])
        finally:
            await client.stop()


async def page(client: httpx.AsyncClient, path: str) -> str:
    response = await client.get(path)
    assert response.status_code == 200, response.text
    return response.text


async def eventually(condition: Callable[[], Awaitable[bool]], *, limit_s: float = 60.0) -> None:
    deadline = time.monotonic() + limit_s
    while not await condition():
        assert time.monotonic() < deadline, f"the condition did not hold within {limit_s:.0f} s"
        await asyncio.sleep(0.05)


def unique_names() -> str:
    return uuid.uuid4().hex[:8]
