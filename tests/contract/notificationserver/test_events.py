"""The events that notifications owe to the tracker."""

import contextlib
from collections.abc import AsyncIterator

import pytest

from services.backbone.clients import EventUnavailable, TrackerClient
from services.notificationserver.worker import OwedEventSender
from tests.contract.notificationserver.serving import EventStub
from tests.contract.notificationserver.stepping import Stepper, Stopped, stop_at


@contextlib.asynccontextmanager
async def sending(stepper: Stepper) -> AsyncIterator[OwedEventSender]:
    async with TrackerClient(stepper.settings.tracker_url, attempts=1) as client:
        yield OwedEventSender(
            stepper.database, client, stepper.settings, stepper.metrics, now_ms=lambda: stepper.now_ms
        )


async def test_events_wait_while_the_tracker_is_away(stepper: Stepper, tracker: EventStub) -> None:
    for number in range(3):
        await stepper.accept(f"s.o.{number}")
    tracker.status = 503
    async with sending(stepper) as sender:
        for _ in range(2):  # the first failure ends its leases
            with pytest.raises(EventUnavailable):
                await sender.send_owed()
        stepper.now_ms += 60_000
        await sender.refresh_metrics()
        assert stepper.metrics.owed_events._value.get() == 3
        assert stepper.metrics.oldest_owed_event._value.get() == 60
        tracker.status = 200
        await sender.send_owed()
    assert tracker.ids == {f"s.o.{number}.mtf": 1 for number in range(3)}
    assert await stepper.notifications.owing(now_ms=stepper.now_ms) == (0, 0)


async def test_event_is_sent_again_under_its_id_after_a_kill_before_its_acknowledgement(
    stepper: Stepper, tracker: EventStub
) -> None:
    await stepper.accept("s.o.1")
    async with sending(stepper) as sender:
        sender._at_point = stop_at("events_sent")
        with pytest.raises(Stopped):
            await sender.send_owed()
        sender._at_point = lambda _: None
        await sender.send_owed()
        assert tracker.ids == {"s.o.1.mtf": 1}  # the lease holds
        stepper.now_ms += 6_001
        await sender.send_owed()
    assert tracker.ids == {"s.o.1.mtf": 2}
    assert await stepper.notifications.owing(now_ms=stepper.now_ms) == (0, 0)
