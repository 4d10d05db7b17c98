"""Rolling restarts of trackers and kafkastores behind a proxy, under steady load: no request fails."""

import pytest

from deploy.chaos import verify
from deploy.chaos.load import requests
from deploy.chaos.system import ChaosSystem
from tests.chaos.rolling import Proxy, Rolled, roll


async def rolled(system: ChaosSystem, *, restarts: int, batch_every: int) -> Rolled:
    first, second = zip(system.trackers, system.kafkastores, strict=True)
    source = requests("rolling", batch_every=batch_every)
    with Proxy(system.tracker_ports, folder=system.stack.data_directory / "nginx") as proxy:
        result = await roll([*first, *second], proxy, source, restarts=restarts, rate=100)
    assert await system.wait_until_drained(waiting=0, limit_s=60) is not None
    return result


async def assert_nobody_noticed(system: ChaosSystem, result: Rolled, *, restarts: int) -> None:
    print(  # noqa: T201 - the figures are what this test is run for
        f"{result.counts.sent} sent, {restarts} restarts in {result.seconds:.0f} s, longest stop "
        f"{result.longest_stop_s:.1f} s"
    )
    assert (result.counts.refused, result.counts.broken, result.counts.other) == (0, {}, {})
    assert result.exit_codes == [0] * restarts
    contents = await verify.read_topics(system.stack.bootstrap_servers)
    assert verify.lost(result.counts.acknowledged, contents) == set()
    assert len(result.counts.acknowledged) >= result.counts.sent > restarts * 10
    # An orderly restart ships each event once. Only a request that nginx sent twice can be in Kafka twice.
    assert contents.duplicates == 0


@pytest.mark.chaos
@pytest.mark.timeout(300)
async def test_no_request_fails_during_a_few_rolling_restarts(system: ChaosSystem) -> None:
    result = await rolled(system, restarts=6, batch_every=10)
    await assert_nobody_noticed(system, result, restarts=6)


@pytest.mark.endurance
@pytest.mark.timeout(1800)
async def test_no_request_fails_during_a_hundred_rolling_restarts(system: ChaosSystem) -> None:
    result = await rolled(system, restarts=100, batch_every=0)
    await assert_nobody_noticed(system, result, restarts=100)
