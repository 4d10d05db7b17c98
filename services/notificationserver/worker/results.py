"""AttemptRecorder: writes the results of attempts in groups, and what follows from them."""

import random
from collections.abc import Callable

from services.backbone.mongo import Database
from services.notificationserver.core.deliveries import DeliveryAttempt, NextStep, after_attempt
from services.notificationserver.core.mappings import callback_changes
from services.notificationserver.core.outcomes import Outcome
from services.notificationserver.metrics import Metrics
from services.notificationserver.providers import Parcel
from services.notificationserver.store import (
    AttemptResult,
    DeliveryStore,
    GroupWriter,
    MappingStore,
    MessageStore,
    WindowStore,
)


class AttemptRecorder:
    """Records attempts. All methods raise PyMongoError while the database is not available."""

    def __init__(  # noqa: PLR0913 - the stores, and what tests replace
        self,
        database: Database,
        deliveries: DeliveryStore,
        messages: MessageStore,
        windows: WindowStore,
        metrics: Metrics,
        *,
        now_ms: Callable[[], int],
    ) -> None:
        self._deliveries = deliveries
        self._messages = messages
        self._mappings = MappingStore(database)
        self._windows = windows
        self._metrics = metrics
        self._now_ms = now_ms
        self._writer: GroupWriter[AttemptResult, None] = GroupWriter(self._write)

    async def record(self, parcel: Parcel, outcome: Outcome, *, token: str) -> None:
        """Write the result of an attempt. A message whose channels are all dead gives its window back."""
        now_ms, delivery = self._now_ms(), parcel.delivery
        attempt = DeliveryAttempt(parcel.now_ms, max(0, now_ms - parcel.now_ms), outcome.status, outcome.reason)
        unit = random.random()  # noqa: S311 - spreads retries, keeps no secret
        step = after_attempt(delivery, outcome, now_ms=now_ms, unit=unit)
        channel = delivery.channel.partition(".")[0]
        self._metrics.attempts.labels(channel, outcome.result).inc()
        self._metrics.seconds.labels(channel).observe(attempt.ms / 1000.0)
        if step.state == "delivered":
            self._metrics.delivered_after.observe(max(0, now_ms - delivery.accepted_ms) / 1000.0)
        await self._writer.submit(AttemptResult(delivery, token, attempt, step))
        await self._change_address(parcel, outcome, now_ms)
        if step.state == "dead":
            await self._note_dead(parcel)

    async def give_up(self, parcel: Parcel, reason: str, *, token: str) -> None:
        """Move a delivery to the dead list without an attempt."""
        await self._writer.submit(AttemptResult(parcel.delivery, token, None, NextStep("dead", reason=reason)))
        await self._note_dead(parcel)

    async def postpone(self, parcel: Parcel, due_ms: int, *, token: str) -> None:
        """Make a delivery due at a later time, without an attempt."""
        await self._writer.submit(AttemptResult(parcel.delivery, token, None, NextStep("due", due_ms)))

    async def _write(self, results: list[AttemptResult]) -> list[None]:
        await self._deliveries.write(results, now_ms=self._now_ms())
        delivered = (each.delivery for each in results if each.step.state == "delivered")
        await self._mappings.end_failing({each.device_id for each in delivered if each.channel == "callback"})
        return [None] * len(results)

    async def _note_dead(self, parcel: Parcel) -> None:
        self._metrics.dead.labels(parcel.delivery.channel.partition(".")[0]).inc()
        message = parcel.message
        if await self._deliveries.are_all_dead(message.id):
            merged = await self._messages.get_many(message.merged_ids)
            await self._windows.give_back([message, *merged.values()])

    async def _change_address(self, parcel: Parcel, outcome: Outcome, now_ms: int) -> None:
        mapping, channel = parcel.mapping, parcel.delivery.channel
        if mapping is None:
            return
        if channel == "callback":
            changes = callback_changes(mapping, outcome, now_ms=now_ms)
            if changes:
                seen = None if outcome.result == "retire" else mapping  # 410 counts whatever happened meanwhile
                await self._mappings.set_callback(mapping.device_id, mapping.callback_url, changes, seen=seen)
        elif outcome.result == "retire":
            subscription = mapping.subscription(channel.partition(".")[2])
            if subscription is not None:
                await self._mappings.remove_subscription(mapping.device_id, subscription.endpoint)
