"""EventProducer: writes records to topics, in one batch sequence per partition."""

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

    Use it as an async context manager. It connects at the first call and after each failure, so it can be opened while
    Kafka is down.
    """

    def __init__(self, settings: KafkaSettings, *, request_timeout_s: float = 10.0) -> None:
        """Fail a batch `request_timeout_s` after it was passed to the client."""
        self._settings = settings
        self._timeout_ms = int(request_timeout_s * 1000)
        self._max_batch_bytes = max_record_bytes(settings.max_event_bytes)
        self._client: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()
        self._keyless_turn = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection, and discard unacknowledged records."""
        await self._disconnect(self._client)

    async def produce(self, topic: str, records: Sequence[Record]) -> list[int]:
        """Write records. Return the indexes of records that are too large for the topic, in order.

        When it returns, all in-sync replicas have acknowledged all other records. Raises KafkaUnavailable if any record
        was not acknowledged: then write all of them again.
        """
        client = None
        try:
            # The client has a time limit for one attempt only: when a broker hangs, it retries for minutes.
            async with asyncio.timeout(self._timeout_ms / 1000):
                client = await self._connect()
                too_large, refused = await self._produce(client, topic, records)
            if refused:
                # A rejected batch ends the sequence of an idempotent producer: begin a new sequence.
                await self._disconnect(client)
                for partition, indexes in refused.items():
                    too_large += await self._bisect_oversized(topic, partition, records, indexes)
        except (KafkaError, OSError) as error:
            # A batch that timed out leaves a gap in the sequence of an idempotent producer: begin a new sequence.
            await self._disconnect(client)
            raise unavailable(error) from error
        return sorted(too_large)

    async def check(self) -> None:
        """Raise KafkaUnavailable unless the cluster responds and has the topics of events and of dead letters."""
        try:
            client = await self._connect()
            await client.client.fetch_all_metadata()
            for topic in (names.EVENTS_TOPIC, names.DEAD_LETTER_TOPIC):
                await client.partitions_for(topic)
        except (KafkaError, OSError) as error:
            raise unavailable(error) from error

    async def _connect(self) -> AIOKafkaProducer:
        # Several tasks share the producer, including the readiness check. One of them connects, the others wait.
        async with self._connecting:
            if self._client is None:
                self._client = await self._open()
            return self._client

    async def _open(self) -> AIOKafkaProducer:
        client = AIOKafkaProducer(
            bootstrap_servers=self._settings.bootstrap_servers,
            acks="all",
            enable_idempotence=self._settings.idempotence,
            # It is seven times as fast as the client's lz4, which runs at its slowest level, and its output is smaller.
            compression_type="zstd",
            max_batch_size=self._max_batch_bytes,
            request_timeout_ms=self._timeout_ms,
            metadata_max_age_ms=int(METADATA_AGE_S * 1000),
        )
        client._message_accumulator._pending_batches = _PendingBatches()  # noqa: SLF001 - see the class
        try:
            await client.start()
        except BaseException:
            await client.stop()
            raise
        return client

    async def _disconnect(self, client: AIOKafkaProducer | None) -> None:
        """Close a client that failed, unless another task has already replaced it."""
        if client is not self._client or client is None:
            return
        self._client = None
        await self._close(client)

    async def _close(self, client: AIOKafkaProducer) -> None:
        # stop() waits for batches in flight. While Kafka is down, waiting for them is useless.
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            await asyncio.wait_for(client.stop(), timeout=1.0)
            return
        # Otherwise its sender retries forever, and tasks that wait for its batches wait as long.
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            await client.client.close()
            await asyncio.wait_for(client._sender.close(), timeout=1.0)  # noqa: SLF001 - the client has no public access
        _give_up_batches(client)

    async def _produce(
        self, client: AIOKafkaProducer, topic: str, records: Sequence[Record]
    ) -> tuple[list[int], dict[int, list[int]]]:
        """Write records.

        Return the records that are too large. Also return, by partition, the records of rejected batches.
        """
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
        # Await all of them even if one fails, so that no task is left behind.
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
        """Write the records of one partition in as few batches as possible.

        Return, in order, the records of batches that the broker rejected: for their size, or because a rejected batch
        before them ended the sequence of the producer. Do not use the client for this partition afterwards.
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

    async def _bisect_oversized(
        self, topic: str, partition: int, records: Sequence[Record], indexes: list[int]
    ) -> list[int]:
        """Write records in order when some exceed the topic's limit. Return the records that exceed it.

        This happens when the limit of the topic is below ours. Rejected batches are split in half until the records are
        found, with a new client after each rejection. Each step has a time limit; the whole has none, because every
        step makes progress.
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
                    waiting.append(refused)  # the batches before these are written
                else:
                    half = len(refused) // 2
                    waiting += [refused[half:], refused[:half]]
        finally:
            if client is not None:
                await self._close(client)
        return too_large


class _PendingBatches(set[object]):
    """The client's batches in flight. The client removes a batch twice if it expires after a retry."""

    def remove(self, batch: object) -> None:
        """Remove a batch if it is present."""
        self.discard(batch)


def _give_up_batches(client: AIOKafkaProducer) -> None:
    """Fail all unacknowledged batches of this client, so that no task waits for them."""
    batches = client._message_accumulator  # noqa: SLF001 - the client has no public access
    unconfirmed = [*batches._pending_batches, *(batch for queued in batches._batches.values() for batch in queued)]  # noqa: SLF001 - as above
    for batch in unconfirmed:
        batch.failure(KafkaTimeoutError("not acknowledged"))
        for waiter in (batch.future, batch._drain_waiter):  # noqa: SLF001 - as above
            # Retrieve the exception. Otherwise asyncio logs it when no task waits for it.
            if not waiter.cancelled():
                waiter.exception()


# Keys repeat (a device sends many events) and the hash is computed in Python, so cache it.
@lru_cache(maxsize=65536)
def _key_hash(key: bytes) -> int:
    """Hash a key like every Kafka client (murmur2, positive), so that all producers choose the same partition."""
    return int(murmur2(key)) & 0x7FFFFFFF
