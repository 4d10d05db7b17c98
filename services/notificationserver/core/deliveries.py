"""Deliveries: a message on its way through one channel."""

from typing import Any, Final, Literal, NamedTuple, Self

import msgspec

from services.notificationserver.core.mappings import ChannelTarget
from services.notificationserver.core.messages import Message
from services.notificationserver.core.outcomes import Outcome
from services.notificationserver.core.retries import ATTEMPTS, next_attempt_ms

DeliveryState = Literal["due", "delivered", "dead"]
STALE: Final = "it was stale: older than a day"


class DeliveryAttempt(msgspec.Struct, frozen=True):
    """One attempt: when, for how long, and its result."""

    at_ms: int
    ms: int
    status: int | None
    reason: str


class Delivery(msgspec.Struct, frozen=True):
    """A message on its way through one channel."""

    id: str = msgspec.field(name="_id")
    message_id: str
    device_id: str
    channel: str
    host: str
    accepted_ms: int
    expires_ms: int
    state: DeliveryState = "due"
    attempts: tuple[DeliveryAttempt, ...] = ()
    reason: str = ""
    """Why it is in the dead list."""
    replayed: int = 0
    """The attempts that were made before it was replayed from the dead list."""
    due_at: int | None = None
    """When it is attempted next, or when the running attempt was due. Only the store writes it."""
    ended_ms: int | None = None
    """When it was delivered or went to the dead list. Only the store writes it."""

    def to_document(self) -> dict[str, Any]:
        """Return the document of a new delivery."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        del document["due_at"], document["ended_ms"]  # indexes contain only documents that have the field
        return document

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Return the delivery of a document. The fields of its lease are ignored."""
        return msgspec.convert(document, cls, strict=False)


def deliveries_of(message: Message, targets: list[ChannelTarget]) -> list[Delivery]:
    """Return the deliveries of a message."""
    return [
        Delivery(
            id=f"{message.id}:{target.channel}",
            message_id=message.id,
            device_id=message.device_id,
            channel=target.channel,
            host=target.host,
            accepted_ms=message.accepted_ms,
            expires_ms=message.expires_ms,
        )
        for target in targets
    ]


class NextStep(NamedTuple):
    """The state of a delivery after an attempt."""

    state: DeliveryState
    due_ms: int | None = None
    reason: str = ""


def after_attempt(delivery: Delivery, outcome: Outcome, *, now_ms: int, unit: float) -> NextStep:
    """Return what follows from an attempt. `delivery` has the attempts before it; `unit` is random in [0, 1)."""
    if outcome.result == "delivered":
        return NextStep("delivered")
    if outcome.result not in ("retry", "error"):
        return NextStep("dead", reason=outcome.reason)
    made = len(delivery.attempts) - delivery.replayed + 1
    due_ms = next_attempt_ms(made, now_ms=now_ms, unit=unit, retry_after_s=outcome.retry_after_s)
    if due_ms is None:
        return NextStep("dead", reason=f"{ATTEMPTS} attempts failed: {outcome.reason}")
    if due_ms >= delivery.expires_ms:
        return NextStep("dead", reason=f"the next attempt would be stale: {outcome.reason}")
    return NextStep("due", due_ms)
