import pytest

from deploy.develop.localstack import apache, kafka
from deploy.develop.localstack.kafka import KafkaBroker, choose_kafka
from services.backbone.kafka import ensure_topics, topic_plans


def test_auto_selects_tansu_and_reports_why_when_apache_kafka_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    lines: list[str] = []
    assert choose_kafka("auto", lines.append) == "tansu"
    assert lines == ["Kafka: Tansu (in memory), because Java 17 or newer is not installed."]


def test_apache_is_never_replaced_when_it_is_selected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(apache.Unavailable):
        choose_kafka("apache", print)


async def test_broker_responds_and_creates_topics_twice(kafka_broker: KafkaBroker) -> None:
    assert kafka_broker.responds()
    plans = topic_plans(partitions=4, replication=1, max_event_bytes=262_144)
    for _ in range(2):
        await ensure_topics(kafka_broker.bootstrap_servers, plans)


@pytest.mark.parametrize(
    ("response", "ready"),
    [
        ("00000007 00000001 00000001 0001 61 00002384 ffff 00000001", True),
        ("00000007 00000001 00000001 0001 61 00002384 ffff ffffffff", False),
        ("00000007 00000000 00000001", False),
        ("00000008 00000001 00000001 0001 61 00002384 0001 62 00000001", False),
    ],
    ids=["ready", "no-controller-yet", "no-broker-yet", "not-our-answer"],
)
def test_ready_means_a_broker_and_a_controller(response: str, *, ready: bool) -> None:
    assert kafka._has_controller(bytes.fromhex(response)) is ready
