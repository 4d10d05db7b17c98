from collections.abc import Sequence

from services.consumers.core.actions import Action
from services.consumers.core.flights import RESEND_MARGIN_S, ActionReport, Flights, ReportKind

LIMIT_S = 30.0
RESEND_S = LIMIT_S + RESEND_MARGIN_S


def action(id_: str) -> Action:
    return Action("handler", id_, "{}")


def flying(*ids: str, most: int = 500) -> Flights:
    flights = Flights(most=most, time_limit_s=LIMIT_S, backoff_s=1.0)
    for offset, id_ in enumerate(ids):
        flights.add(action(id_), [(0, offset)], 0.0)
    flights.admit()
    return flights


def sent(flights: Flights, now_s: float, *, is_away: bool = False, queued: int = 0) -> list[str]:
    return [send.action.id for send in flights.due(now_s, is_away=is_away, queued=queued)]


def report(flights: Flights, id_: str, kind: ReportKind, number: int, now_s: float, *, attempts: int = 0) -> bool:
    """Return whether the action is finished."""
    return flights.observe(id_, ActionReport(kind, number, attempts), now_s) is not None


def test_action_is_sent_at_once_and_again_only_after_the_time_limit() -> None:
    flights = flying("a")
    assert sent(flights, 0.0) == ["a"]
    assert sent(flights, RESEND_S - 0.1) == []
    assert sent(flights, RESEND_S) == ["a"]


def test_unanswered_action_is_sent_again_only_if_the_queue_is_short() -> None:
    flights = flying("waits", "fails", most=2)
    assert sent(flights, 0.0, queued=2) == ["waits", "fails"]
    assert not report(flights, "fails", "failed", 1, 1.0, attempts=1)
    assert sent(flights, RESEND_S, queued=2) == ["fails"]
    assert sent(flights, RESEND_S, queued=1) == ["waits"]


def test_at_most_so_many_actions_are_in_flight() -> None:
    flights = flying("a", "b", "c", most=2)
    assert sent(flights, 0.0) == ["a", "b"]
    assert (flights.in_flight, flights.waiting) == (2, 1)
    assert report(flights, "a", "done", 2, 1.0)
    assert flights.admit() == ["b", "c"]
    assert sent(flights, 1.0) == ["c"]


def test_finished_action_finishes_all_its_events() -> None:
    flights = flying("a")
    flights.add(action("a"), [(2, 7)], 1.0)
    finished = flights.observe("a", ActionReport("dead", 3), 2.0)
    assert finished is not None
    assert (finished.is_dead, finished.offsets, finished.taken_s) == (True, [(0, 0), (2, 7)], 0.0)
    assert "a" not in flights


def test_running_action_is_not_sent_again() -> None:
    flights = flying("a")
    assert not report(flights, "a", "started", 1, 0.0)
    assert sent(flights, RESEND_S - 0.1) == []


def test_failed_action_is_sent_again_after_a_growing_pause() -> None:
    flights = flying("a")
    now_s = 0.0
    for attempts, pause_s in ((1, 1.0), (2, 2.0), (3, 4.0)):
        assert sent(flights, now_s) == ["a"]
        report(flights, "a", "failed", 2 * attempts, now_s, attempts=attempts)
        assert sent(flights, now_s + pause_s / 2 - 0.01) == []
        report(flights, "a", "failed", 2 * attempts, now_s + pause_s, attempts=attempts)
        now_s += pause_s


def test_action_of_a_dead_worker_is_sent_again_once() -> None:
    flights = flying("a")
    sent(flights, 0.0)
    report(flights, "a", "started", 1, 0.0)
    report(flights, "a", "lost", 1, 30.0)
    assert sent(flights, 30.0) == ["a"]
    report(flights, "a", "lost", 1, 30.1)
    assert sent(flights, 30.1) == []


def test_one_action_probes_while_the_dependency_is_away() -> None:
    flights = flying("a", "b", "c")
    sent(flights, 0.0)
    for id_ in "abc":
        report(flights, id_, "away", 2, 0.0)
    probes = [flights.due(step / 10, is_away=True) for step in range(1, 101)]
    found = [each for each in probes if each]
    assert 3 <= len(found) <= 20
    assert all(len(each) == 1 and each[0].is_probe for each in found)


def test_probes_are_different_actions() -> None:
    flights = flying("a", "b", "c")
    sent(flights, 0.0)
    for id_ in "abc":
        report(flights, id_, "away", 2, 0.0)
    probes: list[str] = []
    for second in range(10, 70, 10):
        probes += sent(flights, float(second), is_away=True)
        report(flights, probes[-1], "away", 2 + second, float(second))
    assert probes == ["a", "b", "c", "a", "b", "c"]


def test_all_actions_continue_when_the_dependency_responds() -> None:
    flights = flying("a", "b", "c")
    sent(flights, 0.0)
    for id_ in "abc":
        report(flights, id_, "away", 2, 1.0)
    sent(flights, 1.0, is_away=True)
    assert report(flights, "a", "done", 4, 2.0)
    assert sent(flights, 2.0) == ["b", "c"]


def test_events_of_lost_partitions_are_dropped() -> None:
    flights = flying("a", "b", most=1)
    flights.add(action("b"), [(1, 5)], 0.0)
    flights.drop({0})
    assert [id_ in flights for id_ in ("a", "b")] == [False, True]
    _drain(flights, ["b"])


def test_retried_actions_are_dropped_with_the_partition_of_their_sender() -> None:
    flights = Flights(most=500, time_limit_s=LIMIT_S)
    flights.add(action("a"), [(1, 5)], 0.0)
    flights.add(action("retried"), [], 0.0)
    flights.drop({2})
    assert flights.retried == 1
    flights.drop({0})
    assert flights.retried == 0
    _drain(flights, ["a"])


def test_age_is_that_of_the_oldest_unfinished_action() -> None:
    flights = flying("a")
    flights.add(action("b"), [(0, 9)], 5.0)
    assert flights.oldest_s(7.0) == 7.0
    flights.observe("a", ActionReport("done", 1), 7.0)
    assert flights.oldest_s(7.0) == 2.0


def _drain(flights: Flights, expected: Sequence[str]) -> None:
    for id_ in expected:
        assert flights.admit() == [id_]
        assert report(flights, id_, "done", 1, 0.0)
    assert flights.oldest_s(1.0) == 0.0
