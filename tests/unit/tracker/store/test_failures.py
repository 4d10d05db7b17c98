import asyncio

import structlog

from services.tracker.store.failures import FailureLog

INTERVAL_S = 0.05


def failure_log(interval_s: float = INTERVAL_S) -> FailureLog:
    return FailureLog(structlog.stdlib.get_logger(), works_again="works_again", interval_s=interval_s)


async def test_failure_log_logs_first_failure_and_recovery_and_counts_later_ones() -> None:
    failures = failure_log()
    with structlog.testing.capture_logs() as logs:
        for _ in range(5):
            failures.begin("redis", "fails", error="away")
            failures.begin("redis", "fails", error="away")
            failures.end()
            failures.end()
        assert [line["event"] for line in logs] == ["fails", "works_again"]
        async with asyncio.timeout(5):
            while len(logs) < 3:  # noqa: ASYNC110 - a log has no event
                await asyncio.sleep(0.01)
    assert logs[2] == {
        "event": "fails",
        "log_level": "warning",
        "error": "away",
        "times": 4,
        "within_s": INTERVAL_S,
        "lasts": False,
    }
    failures.close()


async def test_each_cause_of_lasting_failure_is_logged_once() -> None:
    failures = failure_log()
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            for cause in ("out of memory", "read only", "no password"):
                failures.begin("redis", "fails", cause=cause, error=cause)
            await asyncio.sleep(2 * INTERVAL_S)  # a lasting failure is not logged again after an interval
        failures.end()
    assert [line.get("error") for line in logs] == ["out of memory", "read only", "no password", None]
    failures.close()


async def test_number_of_logged_causes_is_bounded() -> None:
    failures = failure_log(60)
    with structlog.testing.capture_logs() as logs:
        for number in range(1000):
            failures.begin("redis", "fails", cause=str(number))
        assert 2 <= len(logs) <= 50
        failures.close()
    assert len(logs) <= 51
    assert logs[-1]["times"] == 1000 - (len(logs) - 1)


async def test_failure_of_another_kind_is_logged_at_once() -> None:
    failures = failure_log(60)
    with structlog.testing.capture_logs() as logs:
        failures.begin("redis", "fails")
        failures.begin("bug", "is_wrong")
        failures.end()
    assert [line["event"] for line in logs] == ["fails", "is_wrong", "works_again"]
    failures.close()


async def test_failure_log_logs_recovery_after_count_when_failure_was_only_counted() -> None:
    failures = failure_log()
    with structlog.testing.capture_logs() as logs:
        failures.begin("redis", "fails")
        failures.end()
        failures.begin("redis", "fails")
        async with asyncio.timeout(5):
            while len(logs) < 3:  # noqa: ASYNC110 - a log has no event
                await asyncio.sleep(0.01)
        failures.end()
    assert [(line["event"], line.get("lasts")) for line in logs[2:]] == [("fails", True), ("works_again", None)]
    failures.close()


async def test_failure_is_logged_in_full_again_after_a_quiet_interval() -> None:
    failures = failure_log()
    with structlog.testing.capture_logs() as logs:
        failures.begin("redis", "fails")
        failures.end()
        await asyncio.sleep(3 * INTERVAL_S)
        failures.begin("redis", "fails")
        failures.end()
    assert [line["event"] for line in logs] == ["fails", "works_again"] * 2
    failures.close()


async def test_failure_log_logs_count_when_closed() -> None:
    failures = failure_log(60)
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            failures.begin("redis", "fails")
            failures.end()
        failures.close()
        failures.close()
    assert [line.get("times") for line in logs if line["event"] == "fails"] == [None, 2]
