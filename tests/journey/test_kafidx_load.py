"""kafidx under load, with many subscribers, some of which never read.

The test prints its results. kafidx_load.py lists the variables that change the load.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator

import pytest

from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaKind
from deploy.develop.localstack.services import ServiceProcess
from services.backbone.kafka import EventProducer
from services.backbone.settings import KafkaSettings
from tests.journey.kafidx_load import (
    MAX_STUCK_MB,
    MB,
    SECONDS,
    STUCK,
    SUBSCRIBERS,
    MemoryOf,
    Subscriber,
    assert_all_accounted_for,
    assert_nothing_missed,
    open_socket,
    produce,
)

pytestmark = [pytest.mark.slow, pytest.mark.measures, pytest.mark.timeout(SECONDS * 3 + 120)]


@pytest.fixture
def kafidx(kafka_kind: KafkaKind) -> Iterator[tuple[LocalStack, ServiceProcess]]:
    with LocalStack(kafka=kafka_kind) as stack:
        service = stack.start_service("kafidx")
        stack.wait_until_ready()
        yield stack, service


async def test_stuck_subscribers_need_little_memory_and_others_get_every_event(
    kafidx: tuple[LocalStack, ServiceProcess], capsys: pytest.CaptureFixture[str]
) -> None:
    stack, service = kafidx
    memory = MemoryOf(service.pid)
    settings = KafkaSettings.from_env(stack.environment())
    async with EventProducer(settings) as producer, contextlib.AsyncExitStack() as cleanup:
        # The growth includes the first reader and the recent events, which need their memory in any case.
        sockets = [await cleanup.enter_async_context(open_socket(stack.kafidx_url)) for _ in range(SUBSCRIBERS - STUCK)]
        stuck = [
            await cleanup.enter_async_context(open_socket(stack.kafidx_url, small_buffer=True)) for _ in range(STUCK)
        ]
        readers = [Subscriber(ws) for ws in sockets]
        tasks = [asyncio.create_task(reader.read()) for reader in readers]
        before, cpu_before_s, begun_s = memory.now(), memory.cpu_s(), time.monotonic()
        sampling = asyncio.create_task(memory.sample())
        count = await produce(producer)
        took_s = time.monotonic() - begun_s
        await asyncio.gather(*(reader.until(count, limit_s=30 + SECONDS) for reader in readers))
        cpu_s = memory.cpu_s() - cpu_before_s
        sampling.cancel()
        late = [Subscriber(ws) for ws in stuck]
        tasks += [asyncio.create_task(reader.read()) for reader in late]
        await asyncio.gather(*(reader.until(count, limit_s=30) for reader in late))
        for task in tasks:
            task.cancel()

    with capsys.disabled():
        results = {
            "events": count,
            "events/s": round(count / took_s),
            "subscribers": SUBSCRIBERS,
            "of them never reading": STUCK,
            "rows sent to readers": sum(reader.rows for reader in readers),
            "dropped of readers": sum(reader.stats["dropped"] for reader in readers),
            "ledger of those that never read": [reader.ledger() for reader in late],
            "kafidx CPU s a s": round(cpu_s / took_s, 2),
            "memory MB before/peak/grown": [
                round(size / MB, 1) for size in (before, memory.peak, memory.peak - before)
            ],
        }
        print("\n" + json.dumps(results, indent=1))  # noqa: T201 - this test reports its measurement
    assert_nothing_missed(readers, count)
    assert_all_accounted_for(late, count)
    # The growth includes the live reader and the recent events, so the limit is stricter than necessary.
    assert memory.peak - before < (STUCK + 1) * MAX_STUCK_MB * MB
