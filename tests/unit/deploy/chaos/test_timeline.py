import pytest

from deploy.chaos.timeline import AtRisk, Call, Sample, at_risk, parse_trace

TRACE = """\
16577 100.250000 write(8</data/a.aof>, ""..., 60) = 60 <0.250000>
16577 100.500000 fdatasync(8</data/a.aof>) = 0 <0.250000>
16569 101.000000 fsync(9</data/events-0/0.log> <unfinished ...>
16577 101.100000 fdatasync(8</data/a.aof>) = -1 EIO (Input/output error) <0.004740>
16570 101.200000 futex(1) = 0 <0.1>
16569 101.500000 <... fsync resumed>) = 0 <0.500000>
16570 101.500000 write(9</data/events-0/0.log>, ""..., 90 <unfinished ...>
16570 101.750000 <... write resumed>) = 90 <0.250000>
16569 102.000000 --- SIGTERM {si_signo=SIGTERM} ---
"""


def test_trace_is_parsed_when_a_call_is_on_one_line_or_on_two() -> None:
    assert parse_trace(TRACE) == [
        Call(100.25, 100.5, "/data/a.aof", 60, is_sync=False),
        Call(100.5, 100.75, "/data/a.aof", 0, is_sync=True),
        Call(101.0, 101.5, "/data/events-0/0.log", 0, is_sync=True),
        Call(101.5, 101.75, "/data/events-0/0.log", 90, is_sync=False),
    ]


SAMPLES = [Sample(at_s=float(second), confirmed=10 * second) for second in range(11)]
# Ten events of 100 bytes a second, each confirmed when it is written.
WRITES = [Call(second - 0.1, float(second), "a", 1000, is_sync=False) for second in range(1, 11)]


def sync(begun_s: float, ended_s: float) -> Call:
    return Call(begun_s, ended_s, "a", 0, is_sync=True)


@pytest.mark.parametrize(
    ("syncs", "moment_s", "expected"),
    [
        ([], 3.0, AtRisk(30, 2000.0)),  # nothing is synced yet, so all events since second 1 are at risk
        ([sync(2.0, 2.1), sync(4.5, 5.5)], 5.0, AtRisk(30, 2000.0)),  # an unfinished sync covers nothing
        (
            [sync(2.0, 2.1), sync(4.5, 5.5)],
            5.6,
            AtRisk(10, 600.0),
        ),  # covers the writes before its begin
        ([sync(2.0, 2.1), sync(4.5, 5.5)], 9.0, AtRisk(50, 4000.0)),
        ([sync(6.0, 6.01)], 6.5, AtRisk(0, 0.0)),
    ],
)
def test_events_are_at_risk_until_a_completed_sync_covers_them(
    syncs: list[Call], moment_s: float, expected: AtRisk
) -> None:
    assert at_risk(SAMPLES, [*WRITES, *syncs], moment_s) == pytest.approx(expected)
