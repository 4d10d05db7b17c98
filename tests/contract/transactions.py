"""A producer with transactions, as another program on the same brokers can use one."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence

from aiokafka import AIOKafkaProducer

NEEDS_TRANSACTIONS = "Tansu has no transactions"


class Transactions:
    """Writes each list of values as one transaction with these values in each partition."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partitions: int) -> None:
        self._producer = producer
        self._topic = topic
        self._partitions = partitions

    async def commit(self, values: Sequence[bytes]) -> None:
        async with self._producer.transaction():
            await self._send(values)

    async def abort(self, values: Sequence[bytes]) -> None:
        await self.begin(values)
        await self._producer.abort_transaction()

    async def begin(self, values: Sequence[bytes]) -> None:
        """Write the values and leave the transaction open."""
        await self._producer.begin_transaction()
        await self._send(values)

    async def end(self) -> None:
        await self._producer.commit_transaction()

    async def _send(self, values: Sequence[bytes]) -> None:
        sent = [
            await self._producer.send(self._topic, value, partition=partition)
            for value in values
            for partition in range(self._partitions)
        ]
        await asyncio.gather(*sent)


@contextlib.asynccontextmanager
async def transactions(bootstrap_servers: str, topic: str, *, partitions: int) -> AsyncIterator[Transactions]:
    async with AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers, transactional_id=f"tests-{uuid.uuid4().hex[:8]}"
    ) as producer:
        yield Transactions(producer, topic, partitions)
