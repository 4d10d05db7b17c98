"""What the pages show of a message: masked ids, and each step from its acceptance to its end."""

from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

from services.notificationserver.core.deliveries import Delivery
from services.notificationserver.core.messages import Message, MessageState

StepKind = Literal["info", "good", "warn", "bad"]
_SHORTEST_MASKED: Final = 12


class MessageRecord(NamedTuple):
    """A message with its state."""

    message: Message
    state: MessageState
    suppressed_by: str = ""
    held_until_ms: int | None = None
    merged_into: str = ""


class NotificationRecord(NamedTuple):
    """How far the planning of a notification is."""

    accepted_ms: int
    is_planned: bool
    set_aside: str = ""
    """Why it cannot be planned."""


class TimelineStep(NamedTuple):
    """One step of a message or a notification."""

    at_ms: int
    kind: StepKind
    text: str
    message_id: str = ""
    """Another message that the step names."""


def mask(text: str) -> str:
    """Return an id of which only both ends are shown: it may be a mail address or reach a device."""
    if not text:
        return ""
    if len(text) < _SHORTEST_MASKED:
        return f"{text[:2]}…"
    return f"{text[:4]}…{text[-4:]}"


def timeline(record: MessageRecord, deliveries: Sequence[Delivery]) -> list[TimelineStep]:
    """Return the steps of a message, oldest first. A step in the future is last."""
    message = record.message
    steps = [TimelineStep(message.accepted_ms, "info", "accepted")]
    if record.state == "suppressed":
        text = "suppressed by the rate limit: this side of the pair was sent"
        steps.append(TimelineStep(message.accepted_ms, "warn", text, record.suppressed_by))
    if record.state == "unreachable":
        steps.append(TimelineStep(message.accepted_ms, "warn", "not sent: the device had no channel"))
    if record.held_until_ms is not None:
        steps.append(TimelineStep(record.held_until_ms, "info", "held by the quiet hours of the device until here"))
    if record.state == "merged":
        at_ms = record.held_until_ms or message.accepted_ms
        steps.append(TimelineStep(at_ms, "info", "merged into", record.merged_into))
    for delivery in deliveries:
        steps += _steps_of(delivery)
    return sorted(steps, key=lambda step: step.at_ms)


def timeline_without_messages(record: NotificationRecord) -> list[TimelineStep]:
    """Return the steps of a notification that has no messages."""
    accepted = TimelineStep(record.accepted_ms, "info", "accepted")
    if record.set_aside:
        return [accepted, TimelineStep(record.accepted_ms, "bad", f"set aside: {record.set_aside}")]
    if not record.is_planned:
        return [accepted, TimelineStep(record.accepted_ms, "info", "not planned yet: its messages come in a moment")]
    return [accepted, TimelineStep(record.accepted_ms, "warn", "no message: no device of a recipient is registered")]


def _steps_of(delivery: Delivery) -> Iterable[TimelineStep]:
    channel = delivery.channel.partition(".")[0]
    for number, attempt in enumerate(delivery.attempts, 1):
        is_last = number == len(delivery.attempts)
        delivered = delivery.state == "delivered" and is_last
        status = "" if attempt.status is None else f" with status {attempt.status}"
        took = f"after {attempt.ms / 1000:.1f} s" if attempt.ms >= 1000 else f"after {attempt.ms} ms"  # noqa: PLR2004
        if delivered:
            yield TimelineStep(attempt.at_ms, "good", f"{channel}: delivered{status} {took}")
        else:
            reason = attempt.reason or "failed"
            yield TimelineStep(attempt.at_ms, "warn", f"{channel}: attempt {number} failed {took}: {reason}")
    if delivery.state == "dead":
        yield TimelineStep(delivery.ended_ms or delivery.expires_ms, "bad", f"{channel}: dead: {delivery.reason}")
    elif delivery.state == "due" and delivery.due_at is not None:
        yield TimelineStep(delivery.due_at, "info", f"{channel}: next attempt")
