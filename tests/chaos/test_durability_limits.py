"""How many confirmed events Redis loses at a kill and, by a trace of its syncs, at a power cut."""

import shutil
from functools import partial
from pathlib import Path

import pytest

from deploy.chaos import durability


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    for name, value in (("_KILLS", 1), ("_WRITE_S", 1.0), ("_TRACED_S", 6.0)):
        monkeypatch.setattr(durability, name, value)


@pytest.mark.slow
@pytest.mark.usefixtures("short")
async def test_redis_loses_nothing_when_it_syncs_each_write(tmp_path: Path) -> None:
    row = await durability.measure(partial(durability.RedisStore, "always"), tmp_path)
    assert row.confirmed > 100
    assert row.lost_at_kill == 0
    assert [one.events for one in row.at_risk] == [0] * len(row.at_risk)


@pytest.mark.slow
@pytest.mark.usefixtures("short")
async def test_redis_can_lose_all_events_at_a_power_cut_when_it_never_syncs(tmp_path: Path) -> None:
    row = await durability.measure(partial(durability.RedisStore, "no"), tmp_path)
    assert row.lost_at_kill <= row.confirmed / 100
    assert max(one.events for one in row.at_risk) > 1000
