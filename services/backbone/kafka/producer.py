"""EventProducer: writes records to topics, in batches built per partition."""

import asyncio
import contextlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError, OutOfOrderSequenceNumber
from aiokafka.partitioner import murmur2

from services.backbone import names
from services.backbone.events import Record
from services.backbone.kafka.errors import unavailable
from services.backbone.kafka.identity import METADATA_AGE_S
from services.backbone.kafka.topics import BATCH_OVERHEAD_BYTES, max_record_bytes
from services.backbone.settings import KafkaSettings


class EventProducer:
    """Writes records to topics, in batches built per partition.

    Use it as an async context manager. It connects on the first call and again after each failure, so that it can be
    opened while Kafka is away.
    """

    def __init__(self, settings: KafkaSettings, *, request_timeout_s: float = 10.0) -> None:
        """Give up on a batch `request_timeout_s` after it was handed over."""
        self._settings = settings
        self._timeout_ms = int(request_timeout_s * 1000)
        self._max_batch_bytes = max_record_bytes(settings.max_event_bytes)
        self._client: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()
        self._keyless_turn = 0

    async def __aenter__(self) -> Self:
        """Return the producer; nothing is opened yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection; what was handed over and not confirmed is given up."""
        await self._disconnect(self._client)

    async def produce(self, topic: str, records: Sequence[Record]) -> list[int]:
        """Write records; returns the indexes of those that can never be written because they are too large.

        When it returns, all others are acknowledged by all in-sync replicas.
        Raises KafkaUnavailable when any of them was not confirmed: then write all of them again.
        """
        client = None
        try:
            # The client's own limit is one an attempt: with a broker that hangs it would try for minutes.
            async with asyncio.timeout(self._timeout_ms / 1000):
                client = await self._connect()
                too_large, refused = await self._produce(client, topic, records)
            if refused:
                # The sequence of an idempotent producer ends where the broker refused a batch: begin a new one.
                await self._disconnect(client)
                for partition, indexes in refused.items():
                    too_large += await self._sift(topic, partition, records, indexes)
        except (KafkaError, OSError) as error:
            # A batch that timed out leaves a gap in the sequence of an idempotent producer: begin a new one.
            await self._disconnect(client)
            raise unavailable(error) from error
        return sorted(too_large)

    async def check(self) -> None:
        """Raise KafkaUnavailable unless the cluster answers and knows the topics of events and of dead letters."""
        try:
            client = await self._connect()
            await client.client.fetch_all_metadata()
            for topic in (names.EVENTS_TOPIC, names.DEAD_LETTER_TOPIC):
                await client.partitions_for(topic)
        except (KafkaError, OSError) as error:
            raise unavailable(error) from error

    async def _connect(self) -> AIOKafkaProducer:
        # Several tasks share the producer, readiness among them: one of them connects, the others wait for it.
        async with self._connecting:
            if self._client is None:
                self._client = await self._open()
            return self._client

    async def _open(self) -> AIOKafkaProducer:
        client = AIOKafkaProducer(
            bootstrap_servers=self._settings.bootstrap_servers,
            acks="all",
            enable_idempotence=self._settings.idempotence,
            # Seven times as fast as the client's lz4, which is at its slowest level, and smaller.
            compression_type="zstd",
            max_batch_size=self._max_batch_bytes,
            request_timeout_ms=self._timeout_ms,
            metadata_max_age_ms=int(METADATA_AGE_S * 1000),
        )
        client._message_accumulator._pending_batches = _PendingBatches()  # noqa: SLF001 - see there
        try:
            await client.start()
        except BaseException:
            await client.stop()
            raise
        return client

    async def _disconnect(self, client: AIOKafkaProducer | None) -> None:
        """Close a client that failed, unless another task did and has a new one by now."""
        if client is not self._client or client is None:
            return
        self._client = None
        await self._close(client)

    async def _close(self, client: AIOKafkaProducer) -> None:
        # Closing waits for batches in flight; with Kafka away that would be for nothing.
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            await asyncio.wait_for(client.stop(), timeout=1.0)
            return
        # Left alone, its sender would try for ever, and whoever waits for its batches would wait as long.
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            await client.client.close()
            await asyncio.wait_for(client._sender.close(), timeout=1.0)  # noqa: SLF001 - the client has no public way
        _give_up_batches(client)

    async def _produce(
        self, client: AIOKafkaProducer, topic: str, records: Sequence[Record]
    ) -> tuple[list[int], dict[int, list[int]]]:
        """Write records; returns those that are too large, and by partition those of which only some are."""
        count = len(await client.partitions_for(topic))
        self._keyless_turn += 1
        too_large: list[int] = []
        by_partition: dict[int, list[int]] = {}
        for index, record in enumerate(records):
            if len(record.value) + len(record.key or b"") > self._max_batch_bytes - BATCH_OVERHEAD_BYTES // 2:
                too_large.append(index)
                continue
            turn = self._keyless_turn if record.key is None else _key_hash(record.key)
            by_partition.setdefault(turn % count, []).append(index)

        deliveries = [
            self._deliver(client, topic, partition, records, indexes) for partition, indexes in by_partition.items()
        ]
        # All of them are awaited even when one fails, so that none is left behind unwatched.
        results = await asyncio.gather(*deliveries, return_exceptions=True)
        refused: dict[int, list[int]] = {}
        for partition, result in zip(by_partition, results, strict=True):
            if isinstance(result, BaseException):
                raise result
            if result:
                refused[partition] = result
        return too_large, refused

    async def _deliver(
        self,
        client: AIOKafkaProducer,
        topic: str,
        partition: int,
        records: Sequence[Record],
        indexes: list[int],
    ) -> list[int]:
        """Write the records of one partition in as few batches as hold them.

        Returns, in their order, those of batches that the broker refused for their size, and of batches that it refused
        because the sequence of the producer had ended there. The client must then not be used for this partition.
        """
        refused: list[int] = []
        sent: list[tuple[asyncio.Future[object], list[int]]] = []
        batch, members = client.create_batch(), list[int]()
        for index in indexes:
            record = records[index]
            headers = list(record.headers)
            while (
                batch.append(timestamp=record.timestamp_ms, key=record.key, value=record.value, headers=headers) is None
            ):
                sent.append((await client.send_batch(batch, topic, partition=partition), members))
                batch, members = client.create_batch(), []
            members.append(index)
        sent.append((await client.send_batch(batch, topic, partition=partition), members))
        outcomes = await asyncio.gather(*(delivery for delivery, _ in sent), return_exceptions=True)
        for outcome, (_, members) in zip(outcomes, sent, strict=True):
            if isinstance(outcome, MessageSizeTooLargeError) or (
                refused and isinstance(outcome, OutOfOrderSequenceNumber)
            ):
                refused.extend(members)
            elif isinstance(outcome, BaseException):
                raise outcome
        return refused

    async def _sift(self, topic: str, partition: int, records: Sequence[Record], indexes: list[int]) -> list[int]:
        """Write, in their order, records of which some are over the topic's limit, which is below ours; returns those.

        Halves what is refused until the records are found, each half with a client of its own after a refusal. Not
        bounded in time as a whole, only in each step: it always comes nearer to its end.
        """
        too_large: list[int] = []
        waiting = [indexes]
        client: AIOKafkaProducer | None = None
        try:
            while waiting:
                part = waiting.pop()
                async with asyncio.timeout(self._timeout_ms / 1000):
                    client = client or await self._open()
                    refused = await self._deliver(client, topic, partition, records, part)
                if not refused:
                    continue
                await self._close(client)
                client = None
                if len(refused) == 1:
                    too_large += refused
                elif len(refused) < len(part):
                    waiting.append(refused)  # the batches before it are written
                else:
                    half = len(refused) // 2
                    waiting += [refused[half:], refused[:half]]
        finally:
            if client is not None:
                await self._close(client)
        return too_large


class _PendingBatches(set[object]):
    """The client's batches in flight. It takes a batch out a second time when one that it sent again has expired."""

    def remove(self, batch: object) -> None:
        """Take a batch out, if it is still in."""
        self.discard(batch)


def _give_up_batches(client: AIOKafkaProducer) -> None:
    """Tell whoever waits for a batch of this client that it will not be confirmed."""
    batches = client._message_accumulator  # noqa: SLF001 - the client has no public way
    unconfirmed = [*batches._pending_batches, *(batch for queued in batches._batches.values() for batch in queued)]  # noqa: SLF001 - as above
    for batch in unconfirmed:
        batch.failure(KafkaTimeoutError("given up"))
        for waiter in (batch.future, batch._drain_waiter):  # noqa: SLF001 - as above
            # Looked at, since nobody may wait any more: asyncio would report it as an error that nobody saw.
            if not waiter.cancelled():
                waiter.exception()


# Keys repeat (a device sends many events) and the hash is computed in Python: keep the last ones.
@lru_cache(maxsize=65536)
def _key_hash(key: bytes) -> int:
    """Hash a key as every Kafka client does (murmur2, positive), so that other producers agree on the partition."""
    return int(murmur2(key)) & 0x7FFFFFFF
