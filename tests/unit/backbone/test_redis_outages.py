import structlog

from services.backbone.redis_outages import RedisOutages


def test_each_outage_has_one_line_at_its_begin_and_one_at_its_end() -> None:
    outages = RedisOutages()
    with structlog.testing.capture_logs() as lines:
        outages.succeeded()
        for _ in range(3):
            outages.failed(ConnectionError("refused"))
        outages.succeeded()
        outages.succeeded()
        outages.failed(TimeoutError("silent"))
    assert [(line["event"], line.get("error")) for line in lines] == [
        ("redis_unavailable", "ConnectionError: refused"),
        ("redis_returned", None),
        ("redis_unavailable", "TimeoutError: silent"),
    ]
