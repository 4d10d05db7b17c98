from services.canary.core import Arrival, Flights, Late, device_of


def flights() -> Flights:
    begun = Flights(late_s=10.0)
    begun.sent("a", now_s=100.0)
    return begun


def test_each_stage_is_told_once_with_the_time_since_it_was_sent() -> None:
    flying = flights()
    assert flying.responded("a", now_s=100.5) == [Arrival("a", "answered", 0.5)]
    assert flying.responded("a", now_s=100.6) == []
    assert flying.found("a", partition=2, offset=7, now_s=101.0) == [Arrival("a", "topic", 1.0)]
    assert flying.counted({2: 8}, now_s=102.0) == [Arrival("a", "counted", 2.0)]
    assert len(flying) == 0
    assert flying.take_late(now_s=1000.0) == []


def test_counted_means_that_the_position_is_past_the_event() -> None:
    flying = flights()
    flying.found("a", partition=2, offset=7, now_s=101.0)
    assert flying.uncounted
    assert flying.counted({2: 7}, now_s=102.0) == []
    assert flying.counted({1: 900}, now_s=102.0) == []
    assert [arrival.stage for arrival in flying.counted({2: 8}, now_s=102.0)] == ["counted"]
    assert not flying.uncounted


def test_a_copy_in_the_topic_changes_nothing() -> None:
    flying = flights()
    flying.found("a", partition=0, offset=7, now_s=101.0)
    assert flying.found("a", partition=1, offset=3, now_s=101.5) == []
    assert flying.counted({1: 4}, now_s=102.0) == []


def test_one_that_is_late_is_told_once_by_the_first_stage_that_is_missing() -> None:
    flying = flights()
    assert flying.take_late(now_s=109.9) == []
    assert flying.take_late(now_s=110.0) == [Late("a", "answered", "")]
    assert flying.take_late(now_s=200.0) == []
    assert "a" not in flying


def test_one_that_comes_after_it_was_late_is_not_seen() -> None:
    flying = flights()
    flying.take_late(now_s=110.0)
    assert flying.responded("a", now_s=111.0) == []
    assert flying.found("a", partition=0, offset=1, now_s=111.0) == []


def test_a_canary_that_was_refused_is_looked_for_on_and_what_was_said_is_kept() -> None:
    flying = flights()
    flying.no_response("a", "status 503")
    assert [arrival.stage for arrival in flying.found("a", partition=0, offset=1, now_s=101.0)] == ["topic"]
    flying.counted({0: 2}, now_s=102.0)
    assert flying.take_late(now_s=110.0) == [Late("a", "answered", "status 503")]


def test_late_at_the_counter_and_at_the_topic_are_told_apart() -> None:
    flying = flights()
    flying.sent("b", now_s=100.0)
    for canary in ("a", "b"):
        flying.responded(canary, now_s=100.1)
    flying.found("b", partition=0, offset=1, now_s=100.2)
    assert [(late.id, late.stage) for late in flying.take_late(now_s=110.0)] == [("a", "topic"), ("b", "counted")]


def test_devices_take_turns_and_are_few() -> None:
    devices = {device_of(number) for number in range(1000)}
    assert len(devices) == 64
    assert device_of(0) != device_of(1)
