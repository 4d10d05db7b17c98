"""The stage of the browser tests: kafidx on real servers, and events that are written to its topic."""

import time
import uuid
from collections.abc import Iterable
from typing import Protocol

from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.ports import LOOPBACK, free_port
from services.backbone import names
from services.backbone.events import Device, Event, Location, encode_event
from services.backbone.kafka import EventProducer, Record
from services.backbone.settings import KafkaSettings


class Stage(Protocol):
    """A running kafidx and a method that writes events to its topic."""

    url: str
    port: int

    async def send(self, events: Iterable[Event], *, key: bytes | None = None) -> None:
        """Write events to the topic, in order. Events with the same key are in one partition."""


def event(params: str, event_type: str = "view") -> Event:
    """Return an event like those of the tracker."""
    return Event(
        type=event_type,
        id=str(uuid.uuid4()),
        received_at_ms=time.time_ns() // 1_000_000,
        queue_delay_ms=4,
        host="push.example",
        address="cb007100",
        location=Location("DE", "Berlin"),
        device=Device("phone", browser="Firefox"),
        params=params,
    )


def numbered(numbers: Iterable[int], event_type: str = "view") -> list[Event]:
    """Return events with a different parameter `n` each."""
    return [event(f"n={number}", event_type) for number in numbers]


class LocalStage:
    """kafidx of a local stack."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self.port = free_port()
        self.url = f"http://{LOOPBACK}:{self.port}"
        stack.start_service("kafidx", env={"KAFIDX_PORT": str(self.port)})

    async def send(self, events: Iterable[Event], *, key: bytes | None = None) -> None:
        """Write events to the topic, in order. Events with the same key are in one partition."""
        async with self._producer() as producer:
            await producer.produce(names.EVENTS_TOPIC, _records(events, key))

    def _producer(self) -> EventProducer:
        return EventProducer(KafkaSettings.from_env(self._stack.environment()))


def _records(events: Iterable[Event], key: bytes | None) -> list[Record]:
    # Different keys distribute the events over all partitions. Without keys a batch goes to one partition.
    return [Record(encode_event(each), key or each.id.encode()) for each in events]
