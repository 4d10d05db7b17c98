import itertools
import json
from typing import Any

import pytest

from services.backbone.search import SearchedStore, StoredEntry, TrackerReport
from services.kafidx.core.find import (
    ConsumerPositions,
    Evidence,
    RecordPosition,
    TopicResult,
    TrackerResult,
    Verdict,
    as_json,
    judge,
)

NOTHING = SearchedStore(5, 5)
RECORD = RecordPosition(3, 120, 1_764_000_000_000, "/kafidx?from=offset:3:120")
LETTER = RecordPosition(0, 7, 1_764_000_000_000, "/dead?before=0:8", "unknown entry version", "decode", 2)
IN_KAFKA = TopicResult((RECORD,), 1)
DEAD = TopicResult((LETTER,), 1)
ABSENT = TopicResult((), 0, 10)
NO_KAFKA = TopicResult(error="no response within 5.0 s", complete=False)
COUNTED = ConsumerPositions("event_counter", {3: 121})
BEHIND = ConsumerPositions("search_counter", {3: 100})
CLAIMED = SearchedStore(3, 3, [StoredEntry(0, before=1, instance="host-1-ab", claimed_ms_ago=12_400, lease_ms=9_000)])
WAITING = SearchedStore(2000, 2000, [StoredEntry(0, before=1204)])
SPOOLED = SearchedStore(9, 9, [StoredEntry(0, before=2, segment="0-a.spool")])
AWAY = SearchedStore(error="Redis does not respond (ConnectionError)")


def tracker(
    *,
    spool: SearchedStore | None = None,
    waiting: SearchedStore = NOTHING,
    claims: SearchedStore = NOTHING,
    redis_error: str = "",
) -> TrackerResult:
    return TrackerResult("http://t:9464", TrackerReport("10.0.0.1", redis_error, {}, spool, waiting, claims))


def verdict(target: int = 0, **changed: Any) -> Verdict:
    return judge(evidence(**changed), target)[0]


def evidence(**changed: Any) -> Evidence:
    fields = {"trackers": [tracker()], "kafka": ABSENT, "dead": ABSENT, "consumers": [COUNTED]}
    return Evidence(**(fields | changed))


def test_event_in_the_spool() -> None:
    found = verdict(trackers=[tracker(spool=SPOOLED, waiting=AWAY, claims=AWAY, redis_error="Connection refused")])
    assert found.stage == "spool"
    assert found.text.startswith("In the tracker's spool: Redis does not take events (Connection refused).")
    assert found.text.endswith("Could not be asked: the Redis of the tracker http://t:9464.")
    found = verdict(trackers=[tracker(spool=SPOOLED)])
    assert found.text == (
        "In the tracker's spool, 2 entries before it: Redis takes events again, and the spool follows."
    )


def test_event_in_the_redis_list() -> None:
    assert verdict(trackers=[tracker(waiting=WAITING)]) == Verdict(
        "redis_list", "Waits in Redis, 1,204 entries before it."
    )
    first = SearchedStore(1, 1, [StoredEntry(0)])
    assert verdict(trackers=[tracker(waiting=first)]).text == "Waits in Redis, no entry before it."


def test_claimed_event() -> None:
    assert verdict(trackers=[tracker(claims=CLAIMED)]) == Verdict("claims", "Claimed by kafkastore host-1-ab 12 s ago.")
    late = SearchedStore(1, 1, [StoredEntry(0, instance="h", claimed_ms_ago=60_000, lease_ms=-4_000)])
    text = verdict(trackers=[tracker(claims=late)], kafka=NO_KAFKA, dead=NO_KAFKA).text
    assert text == (
        "Claimed by kafkastore h 60 s ago. The lease ended 4 s ago: the next kafkastore reclaims it. "
        "Could not be asked: Kafka (no response within 5.0 s)."
    )


def test_event_in_kafka_that_some_have_not_counted() -> None:
    found = verdict(kafka=IN_KAFKA, consumers=[COUNTED, BEHIND, ConsumerPositions("new", {})])
    assert found == Verdict(
        "kafka",
        "In Kafka, partition 3, offset 120; not counted yet by search_counter (20 events before it), "
        "new (no position yet).",
    )
    at_it = verdict(kafka=IN_KAFKA, consumers=[ConsumerPositions("a", {3: 120})])
    assert "not counted yet by a (no event before it)" in at_it.text


def test_counted_event() -> None:
    assert verdict(kafka=IN_KAFKA).text == "Counted by the only consumer. In Kafka, partition 3, offset 120."
    four = [ConsumerPositions(name, {3: 500}) for name in "abcd"]
    found = verdict(kafka=TopicResult((RECORD, RECORD), 2), consumers=four)
    assert found.stage == "counted"
    assert found.text.startswith("Counted by all 4 consumers.")
    assert "2 records of Kafka match" in found.text


def test_event_in_kafka_without_consumers() -> None:
    assert verdict(kafka=IN_KAFKA, consumers=[]).text.endswith("No consumer is registered.")
    found = verdict(kafka=IN_KAFKA, consumers=None)
    assert (found.stage, found.text.endswith("The Redis of the counters does not respond.")) == ("kafka", True)


def test_dead_letter() -> None:
    assert verdict(dead=DEAD) == Verdict(
        "dead_letters", "A dead letter: unknown entry version (stage decode, attempt 2)."
    )
    bare = TopicResult((RecordPosition(0, 7, 0, ""),), 1)
    assert verdict(dead=bare).text == "A dead letter: without a reason (stage unknown)."


def test_event_that_is_nowhere() -> None:
    found = verdict()
    assert found.stage == "nowhere"
    assert "the Redis list, the claims of kafkastore, Kafka or the dead letters." in found.text
    assert any("since" in advice for advice in found.advice)
    assert "Could not be asked" not in found.text


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"trackers": []}, "KAFIDX_TRACKERS is not set"),
        ({"trackers": [tracker(), TrackerResult("http://b:9464", None, "no response in time")]}, "http://b:9464 (no"),
        ({"trackers": [tracker(waiting=AWAY, claims=AWAY)]}, "the Redis of the tracker http://t:9464"),
        ({"kafka": NO_KAFKA, "dead": NO_KAFKA}, "Kafka (no response"),
        ({"dead": TopicResult(error="there is no topic")}, "the dead letters (there is no topic)"),
        ({"consumers": None}, "the Redis of the counters"),
    ],
)  # fmt: skip
def test_part_that_could_not_be_asked_is_named(changed: dict[str, Any], named: str) -> None:
    found = verdict(**changed)
    assert found.stage == "unknown"
    assert f"Could not be asked: {'the stages before Kafka (' if 'KAFIDX' in named else ''}" in found.text
    assert named in found.text


def test_search_that_ended_early_leaves_the_stage_unknown() -> None:
    partly = SearchedStore(800_000, 500_000, error="stopped after 500,000 entries")
    found, stages = judge(evidence(trackers=[tracker(waiting=partly)], kafka=TopicResult(complete=False)), 0)
    assert found.stage == "unknown"
    assert "Searched only in part: the Redis list and Kafka." in found.text
    states = {stage.name: (stage.state, stage.text) for stage in stages}
    assert states["redis_list"][0] == states["kafka"][0] == "not_searched"
    assert "searched 500,000 of 800,000 entries, stopped after 500,000 entries." in states["redis_list"][1]
    assert states["kafka"][1].endswith(", not further.")


def test_entry_of_another_target_does_not_count() -> None:
    changed: dict[str, Any] = {"trackers": [tracker(waiting=WAITING)]}
    assert verdict(0, **changed).stage == "redis_list"
    assert verdict(1, **changed).stage == "nowhere"


def test_every_combination_has_the_furthest_stage_and_valid_json() -> None:
    trackers = [
        [],
        *([tracker(spool=s, waiting=w, claims=c)] for s in (None, SPOOLED, AWAY) for w in (NOTHING, WAITING, AWAY)
          for c in (NOTHING, CLAIMED, AWAY)),
        [TrackerResult("http://t:9464", None, "no response in time")],
    ]  # fmt: skip
    topics = (ABSENT, NO_KAFKA, TopicResult(complete=False))
    consumers: tuple[Any, ...] = (None, [], [COUNTED], [BEHIND], [COUNTED, BEHIND])
    for given, kafka, dead, counted in itertools.product(trackers, (*topics, IN_KAFKA), (*topics, DEAD), consumers):
        found, stages = judge(Evidence(given, kafka, dead, counted), 0)
        reports = [each.report for each in given if each.report is not None]
        if kafka is IN_KAFKA:
            expected = {"counted" if counted == [COUNTED] else "kafka"}
        elif dead is DEAD:
            expected = {"dead_letters"}
        elif any(report.claims is CLAIMED for report in reports):
            expected = {"claims"}
        elif any(report.waiting is WAITING for report in reports):
            expected = {"redis_list"}
        elif any(report.spool is SPOOLED for report in reports):
            expected = {"spool"}
        else:
            expected = {"nowhere", "unknown"}
            incomplete = any(stage.state in ("unknown", "not_searched") for stage in stages)
            assert (found.stage == "unknown") is incomplete
        assert found.stage in expected
        assert found.text.endswith((".", ")"))
        assert [stage.name for stage in stages] == [
            *("spool", "redis_list", "claims", "kafka", "dead_letters", "consumers")
        ]
        json.dumps(as_json(found, stages))
