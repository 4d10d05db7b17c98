import pytest

from services.backbone.settings import SettingsError
from services.topics.settings import Settings


def of(**environ: str) -> dict[str, dict[str, str]]:
    return {plan.name: dict(plan.settings) for plan in Settings.from_env(environ).plans}


@pytest.mark.parametrize(("replicas", "in_sync"), [("1", "1"), ("2", "1"), ("3", "2"), ("5", "4")])
def test_all_replicas_but_one_must_acknowledge(replicas: str, in_sync: str) -> None:
    for settings in of(TOPICS_REPLICATION=replicas).values():
        assert settings["min.insync.replicas"] == in_sync


def test_events_have_many_partitions_and_dead_letters_have_one() -> None:
    events, dead = Settings.from_env({"TOPICS_PARTITIONS": "24"}).plans
    assert (events.name, events.partitions) == ("events", 24)
    assert (dead.name, dead.partitions) == ("events.dead", 1)


def test_each_topic_has_its_own_retention() -> None:
    topics = of(TOPICS_RETENTION_S="3600", TOPICS_DEAD_RETENTION_S="7200", TOPICS_RETENTION_BYTES="1073741824")
    assert topics["events"]["retention.ms"] == "3600000"
    assert topics["events.dead"]["retention.ms"] == "7200000"
    assert topics["events"]["retention.bytes"] == "1073741824"
    assert topics["events"]["segment.bytes"] == "268435456"


def test_segment_has_room_for_the_largest_record() -> None:
    settings = of(MAX_EVENT_BYTES="16777216", TOPICS_RETENTION_BYTES="16777216")["events"]
    assert int(settings["segment.bytes"]) >= int(settings["max.message.bytes"]) > 3 * 16_777_216


def test_all_errors_are_reported_at_once() -> None:
    environ = {"TOPICS_PARTITIONS": "0", "TOPICS_REPLICATION": "many", "TOPICS_RETENTION_BYTES": "1"}
    with pytest.raises(SettingsError) as reported:
        Settings.from_env(environ)
    assert all(name in str(reported.value) for name in environ)
