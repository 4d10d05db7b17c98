"""A separate system for each test, so that the test can break it."""

from collections.abc import AsyncIterator

import pytest

from deploy.chaos.system import ChaosSystem, running
from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaKind


@pytest.fixture
async def system(kafka_kind: KafkaKind) -> AsyncIterator[ChaosSystem]:
    with LocalStack(kafka=kafka_kind) as stack:
        async with running(stack, clocks=False) as started:
            yield started
