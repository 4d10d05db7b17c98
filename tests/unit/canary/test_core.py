from services.canary.core import Arrival, InFlight, Late, device_of


def one_in_flight() -> InFlight:
    """Return the canary `a` in flight, sent at 100 s."""
    in_flight = InFlight(late_s=10.0)
    in_flight.add("a", now_s=100.0)
    return in_flight


def test_stage_is_reported_once_with_the_time_since_sending() -> None:
    in_flight = one_in_flight()
    assert in_flight.accepted("a", now_s=100.5) == [Arrival("a", "answered", 0.5)]
    assert in_flight.accepted("a", now_s=100.6) == []
    assert in_flight.found("a", partition=2, offset=7, now_s=101.0) == [Arrival("a", "topic", 1.0)]
    assert in_flight.counted({2: 8}, now_s=102.0) == [Arrival("a", "counted", 2.0)]
    assert len(in_flight) == 0
    assert in_flight.take_late(now_s=1000.0) == []


def test_canary_is_counted_when_the_position_is_past_it() -> None:
    in_flight = one_in_flight()
    in_flight.found("a", partition=2, offset=7, now_s=101.0)
    assert in_flight.uncounted
    assert in_flight.counted({2: 7}, now_s=102.0) == []
    assert in_flight.counted({1: 900}, now_s=102.0) == []
    assert [arrival.stage for arrival in in_flight.counted({2: 8}, now_s=102.0)] == ["counted"]
    assert not in_flight.uncounted


def test_duplicate_in_the_topic_is_ignored() -> None:
    in_flight = one_in_flight()
    in_flight.found("a", partition=0, offset=7, now_s=101.0)
    assert in_flight.found("a", partition=1, offset=3, now_s=101.5) == []
    assert in_flight.counted({1: 4}, now_s=102.0) == []


def test_late_canary_is_reported_once_with_the_first_missing_stage() -> None:
    in_flight = one_in_flight()
    assert in_flight.take_late(now_s=109.9) == []
    assert in_flight.take_late(now_s=110.0) == [Late("a", "answered", "")]
    assert in_flight.take_late(now_s=200.0) == []
    assert "a" not in in_flight


def test_stage_reached_after_lateness_is_not_reported() -> None:
    in_flight = one_in_flight()
    in_flight.take_late(now_s=110.0)
    assert in_flight.accepted("a", now_s=111.0) == []
    assert in_flight.found("a", partition=0, offset=1, now_s=111.0) == []


def test_canary_stays_in_flight_and_keeps_the_error_when_the_tracker_refuses_it() -> None:
    in_flight = one_in_flight()
    in_flight.not_accepted("a", "status 503")
    assert [arrival.stage for arrival in in_flight.found("a", partition=0, offset=1, now_s=101.0)] == ["topic"]
    in_flight.counted({0: 2}, now_s=102.0)
    assert in_flight.take_late(now_s=110.0) == [Late("a", "answered", "status 503")]


def test_lateness_at_the_counter_differs_from_lateness_at_the_topic() -> None:
    in_flight = one_in_flight()
    in_flight.add("b", now_s=100.0)
    for canary in ("a", "b"):
        in_flight.accepted(canary, now_s=100.1)
    in_flight.found("b", partition=0, offset=1, now_s=100.2)
    assert [(late.id, late.stage) for late in in_flight.take_late(now_s=110.0)] == [("a", "topic"), ("b", "counted")]


def test_devices_alternate_among_64_ids() -> None:
    devices = {device_of(number) for number in range(1000)}
    assert len(devices) == 64
    assert device_of(0) != device_of(1)
