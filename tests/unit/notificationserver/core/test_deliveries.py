from services.notificationserver.core.deliveries import Delivery, DeliveryAttempt, after_attempt
from services.notificationserver.core.outcomes import Outcome

DAY_MS = 86_400_000
FAILED = Outcome("retry", "the receiver responded 500", 500)


def delivery(attempts: int, *, expires_ms: int = 10 * DAY_MS, replayed: int = 0) -> Delivery:
    made = tuple(DeliveryAttempt(n, 1, 500, "") for n in range(attempts))
    return Delivery("d", "m", "device", "callback", "h:80", 0, expires_ms, attempts=made, replayed=replayed)


def test_tenth_failure_is_the_last() -> None:
    assert after_attempt(delivery(8), FAILED, now_ms=0, unit=0.5).state == "due"
    step = after_attempt(delivery(9), FAILED, now_ms=0, unit=0.5)
    assert (step.state, step.reason) == ("dead", "10 attempts failed: the receiver responded 500")


def test_replayed_delivery_has_ten_more_attempts() -> None:
    assert after_attempt(delivery(10, replayed=10), FAILED, now_ms=0, unit=0.5).due_ms == 5_000
    assert after_attempt(delivery(19, replayed=10), FAILED, now_ms=0, unit=0.5).state == "dead"


def test_attempt_that_would_be_stale_is_not_made() -> None:
    step = after_attempt(delivery(0, expires_ms=5_000), FAILED, now_ms=0, unit=0.5)
    assert step.state == "dead"
    assert "stale" in step.reason
    assert after_attempt(delivery(0, expires_ms=5_001), FAILED, now_ms=0, unit=0.5).state == "due"


def test_success_and_final_failures_end_a_delivery() -> None:
    assert after_attempt(delivery(0), Outcome("delivered"), now_ms=0, unit=0.5).state == "delivered"
    for result in ("dead", "retire"):
        step = after_attempt(delivery(0), Outcome(result, "why"), now_ms=0, unit=0.5)
        assert (step.state, step.reason, step.due_ms) == ("dead", "why", None)
