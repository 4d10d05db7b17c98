from services.notificationserver.core.deliveries import Delivery, DeliveryAttempt, DeliveryState
from services.notificationserver.core.messages import compose
from services.notificationserver.core.notifications import Notification, TextNotice
from services.notificationserver.core.timelines import MessageRecord, mask, timeline

MESSAGE = compose(Notification("n1", 1_000, TextNotice("device", "Hello")), "text", "device", "en")


def delivery(*attempts: DeliveryAttempt, state: DeliveryState = "due", reason: str = "", **more: int) -> Delivery:
    return Delivery(
        "d", "m", "device", "webpush.abc", "h:443", 1_000, 9_000, state=state, attempts=attempts, reason=reason, **more
    )


def texts(record: MessageRecord, *deliveries: Delivery) -> list[str]:
    return [step.text for step in timeline(record, deliveries)]


def test_steps_are_in_the_order_of_their_times() -> None:
    failed, succeeded = (
        DeliveryAttempt(2_000, 15_000, None, "no complete response"),
        DeliveryAttempt(7_000, 30, 201, ""),
    )
    found = timeline(MessageRecord(MESSAGE, "sent"), [delivery(failed, succeeded, state="delivered")])
    assert [(step.at_ms, step.kind, step.text) for step in found] == [
        (1_000, "info", "accepted"),
        (2_000, "warn", "webpush: attempt 1 failed after 15.0 s: no complete response"),
        (7_000, "good", "webpush: delivered with status 201 after 30 ms"),
    ]


def test_next_attempt_and_end_are_steps() -> None:
    record = MessageRecord(MESSAGE, "sent")
    assert texts(record, delivery(due_at=5_000))[-1] == "webpush: next attempt"
    assert texts(record, delivery(state="dead", reason="why", ended_ms=6_000))[-1] == "webpush: dead: why"


def test_suppressed_held_and_merged_messages_name_the_other_message() -> None:
    suppressed = timeline(MessageRecord(MESSAGE, "suppressed", suppressed_by="other"), [])
    assert suppressed[-1].message_id == "other"
    merged = timeline(MessageRecord(MESSAGE, "merged", held_until_ms=5_000, merged_into="merged.1"), [])
    assert [(step.at_ms, step.message_id) for step in merged] == [(1_000, ""), (5_000, ""), (5_000, "merged.1")]
    assert "no channel" in texts(MessageRecord(MESSAGE, "unreachable"))[-1]


def test_mask_shows_both_ends_of_a_long_id_only() -> None:
    assert mask("0123456789abcdef") == "0123…cdef"
    assert mask("device") == "de…"
    assert mask("") == ""
