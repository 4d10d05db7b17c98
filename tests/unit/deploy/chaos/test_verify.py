from collections import Counter

from deploy.chaos.verify import Contents, SystemLedger, lost, parse_ledger

KAFKASTORE = """
# HELP push_ledger_events The books of one Redis
# TYPE push_ledger_events gauge
push_ledger_events{redis="a:1/0",state="accepted"} 10.0
push_ledger_events{redis="a:1/0",state="produced"} 6.0
push_ledger_events{redis="a:1/0",state="dead"} 1.0
push_ledger_events{redis="a:1/0",state="waiting"} 3.0
push_ledger_events{redis="b:1/0",state="accepted"} 5.0
push_ledger_events{redis="b:1/0",state="produced"} 5.0
push_ledger_events{redis="b:1/0",state="dead"} 0.0
push_ledger_events{redis="b:1/0",state="waiting"} 0.0
"""
TRACKER = """
# HELP push_tracker_spool_events Events on disk
# TYPE push_tracker_spool_events gauge
push_tracker_spool_events 4.0
"""


def test_ledger_sums_up_every_redis_and_every_spool() -> None:
    ledger = parse_ledger(KAFKASTORE, [TRACKER, TRACKER, ""])
    assert ledger == SystemLedger(accepted=15 + 8, produced=11, dead=1, waiting=3 + 8)
    assert ledger.unaccounted == 0


def test_events_missing_in_the_ledger_are_unaccounted() -> None:
    assert SystemLedger(accepted=10, produced=6, dead=1, waiting=1).unaccounted == 2


def test_ledger_is_none_when_the_metrics_have_none() -> None:
    assert parse_ledger("# HELP other It\n# TYPE other gauge\nother 1.0\n", [TRACKER]) is None


def test_acknowledged_id_is_lost_when_no_topic_contains_it() -> None:
    contents = Contents(records=Counter({"a": 1, "b": 3}), dead=Counter({"c": 1}), without_reason=0)
    assert lost({"a", "b", "c", "d"}, contents) == {"d"}
    assert contents.duplicates == 2
