"""The sweep: old files without an asset are removed, missing files are reported, and one replica at a time does it."""

import asyncio
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from prometheus_client import CollectorRegistry

from services.backbone.mongo import Database
from services.imageserver.core.assets import Asset, file_name
from services.imageserver.metrics import Metrics
from services.imageserver.settings import Settings
from services.imageserver.store import AssetStore, LeaseStore, Volume, VolumeThreads
from services.imageserver.store.volume import new_name
from services.imageserver.worker import Sweeper
from services.imageserver.worker.sweeper import SweepResult
from tests.clock import Clock

FILES: dict[str, dict[str, int]] = {"original": {"jpg": 4, "webp": 4}, "icon": {"jpg": 4}}


@pytest.fixture
def threads() -> Iterator[VolumeThreads]:
    threads = VolumeThreads(threads=1, timeout_s=10, name="sweep-test")
    yield threads
    threads.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sweepers(database: Database, threads: VolumeThreads, tmp_path: Path, clock: Clock) -> tuple[Sweeper, Sweeper]:
    def one() -> Sweeper:
        return Sweeper(
            AssetStore(database),
            LeaseStore(database),
            Volume(tmp_path),
            threads,
            Settings.from_env({}),
            Metrics(CollectorRegistry()),
            now_ms=clock,
        )

    return one(), one()


def write(root: Path, name: str, *, age_s: float) -> list[Path]:
    paths = []
    for size, types in FILES.items():
        for image_type in types:
            path = root / file_name(name, size, image_type)  # type: ignore[arg-type]
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"1234")
            os.utime(path, (path.stat().st_mtime - age_s,) * 2)
            paths.append(path)
    return paths


async def publish(database: Database, name: str, digit: str) -> Asset:
    asset = Asset(64 * digit, name, (), FILES, 1, 1, "JPEG", 9, 1)  # type: ignore[arg-type]
    assert await AssetStore(database).publish(asset)
    return asset


async def test_old_files_without_an_asset_are_removed(
    database: Database, sweepers: tuple[Sweeper, Sweeper], tmp_path: Path
) -> None:
    published, stray, young = new_name(), new_name(), new_name()
    kept = [*write(tmp_path, published, age_s=7_200), *write(tmp_path, young, age_s=3_000)]
    removed = write(tmp_path, stray, age_s=3_700)
    of_nfs = tmp_path / stray[:2] / ".nfs0000000000000001"
    of_nfs.write_bytes(b"x")
    os.utime(of_nfs, (1, 1))
    await publish(database, published, "a")
    assert await sweepers[0].sweep_if_due() == SweepResult(removed=3, missing=0)
    assert all(path.exists() for path in [*kept, of_nfs])
    assert not any(path.exists() for path in removed)


async def test_missing_files_of_assets_are_reported(
    database: Database, sweepers: tuple[Sweeper, Sweeper], tmp_path: Path
) -> None:
    whole, part, gone = new_name(), new_name(), new_name()
    write(tmp_path, whole, age_s=0)
    write(tmp_path, part, age_s=0)[0].unlink()
    for digit, name in zip("abc", (whole, part, gone), strict=True):
        await publish(database, name, digit)
    assert await sweepers[0].sweep_if_due() == SweepResult(removed=0, missing=4)


async def test_sweep_reports_twenty_pictures_with_missing_files_and_the_number_of_all(
    database: Database, sweepers: tuple[Sweeper, Sweeper]
) -> None:
    for number in range(25):
        asset = Asset(f"{number:064x}", new_name(), (), FILES, 1, 1, "JPEG", 9, 1)  # type: ignore[arg-type]
        assert await AssetStore(database).publish(asset)
    with structlog.testing.capture_logs() as records:
        assert await sweepers[0].sweep_if_due() == SweepResult(removed=0, missing=75)
    errors = [record for record in records if record["log_level"] == "error"]
    assert [record["event"] for record in errors] == [*["files_missing"] * 20, "many_files_missing"]
    assert (errors[0]["files"], errors[-1]["assets"], errors[-1]["files"]) == (3, 25, 75)


async def test_missing_files_are_in_the_metrics_of_all_replicas_until_another_one_finds_them(
    database: Database, sweepers: tuple[Sweeper, Sweeper], tmp_path: Path, clock: Clock
) -> None:
    name = new_name()
    await publish(database, name, "a")
    for sweeper, missing in zip(sweepers, (3, 0), strict=True):
        assert await sweeper.sweep_if_due() == SweepResult(removed=0, missing=missing)
        for replica in sweepers:
            await replica.refresh_metrics()
            assert replica._metrics.missing._value.get() == missing
        write(tmp_path, name, age_s=0)
        clock.now_ms += 600_000


async def test_age_of_the_last_sweep_counts_from_the_first_attempt_when_none_was_complete(
    sweepers: tuple[Sweeper, Sweeper], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: Volume, __: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    async def ages_s() -> list[float]:
        for sweeper in sweepers:
            await sweeper.refresh_metrics()
        return [sweeper._metrics.last_sweep._value.get() for sweeper in sweepers]

    with monkeypatch.context() as patched:
        patched.setattr(Volume, "list", refused)
        for sweeper in (*sweepers, *sweepers):
            with pytest.raises(PermissionError):
                await sweeper.sweep_if_due()
            clock.now_ms += 3_600_000
        assert await ages_s() == [14_400, 14_400]
    assert await sweepers[0].sweep_if_due() is not None
    clock.now_ms += 60_000
    assert await ages_s() == [60, 60]


async def test_sweep_is_due_again_after_its_pause(sweepers: tuple[Sweeper, Sweeper], clock: Clock) -> None:
    one, other = sweepers
    assert await one.sweep_if_due() is not None
    assert await one.sweep_if_due() is None
    assert await other.sweep_if_due() is None
    clock.now_ms += 600_000
    assert await other.sweep_if_due() is not None


async def test_two_replicas_never_sweep_at_once(sweepers: tuple[Sweeper, Sweeper]) -> None:
    results = await asyncio.gather(*(sweeper.sweep_if_due() for sweeper in sweepers))
    assert sorted(result is None for result in results) == [False, True]


async def test_sweep_of_a_killed_replica_is_taken_over(
    database: Database, sweepers: tuple[Sweeper, Sweeper], clock: Clock
) -> None:
    other = sweepers[1]
    assert await LeaseStore(database).take(
        "sweep", "a killed replica", now_ms=clock.now_ms, until_ms=clock.now_ms + 60_000
    )
    assert await other.sweep_if_due() is None
    clock.now_ms += 60_000
    assert await other.sweep_if_due() is not None


async def test_replica_that_lost_its_lease_records_no_sweep(database: Database, clock: Clock) -> None:
    leases, until_ms = LeaseStore(database), clock.now_ms + 60_000
    assert await leases.take("sweep", "first", now_ms=clock.now_ms, until_ms=until_ms)
    assert await leases.take("sweep", "second", now_ms=until_ms, until_ms=until_ms + 60_000)
    await leases.finish("sweep", "first", {"missing": 7}, now_ms=until_ms, until_ms=until_ms)
    assert not await leases.take("sweep", "third", now_ms=until_ms, until_ms=until_ms + 60_000)
    history = await leases.history("sweep")
    assert history is not None
    assert history.results == {}


async def test_search_for_missing_files_prolongs_its_lease(
    database: Database, sweepers: tuple[Sweeper, Sweeper], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        await publish(database, f"00{new_name()[2:]}", f"{number}")

    async def look(*_: object) -> list[str]:
        clock.now_ms += 10_000
        return [] if await sweepers[1].sweep_if_due() is None else ["another replica sweeps"]

    monkeypatch.setattr(sweepers[0], "_missing_files", look)
    assert await sweepers[0].sweep_if_due() == SweepResult(removed=0, missing=0)


async def test_deleted_asset_is_swept_an_hour_after_its_deletion(
    database: Database, sweepers: tuple[Sweeper, Sweeper], tmp_path: Path, clock: Clock
) -> None:
    name = new_name()
    paths = write(tmp_path, name, age_s=90_000)
    asset = await publish(database, name, "a")
    Volume(tmp_path).touch(asset.files, asset.name)
    assert await AssetStore(database).unpublish(asset)
    assert await sweepers[0].sweep_if_due() == SweepResult(removed=0, missing=0)
    for path in paths:
        os.utime(path, (path.stat().st_mtime - 3_700,) * 2)
    clock.now_ms += 600_000
    assert await sweepers[0].sweep_if_due() == SweepResult(removed=3, missing=0)
