"""Sweeper: removes files that belong to no asset, and reports assets whose files are gone.

Such files come from uploads that were killed or lost a race, and from deleted assets. They are removed only when they
are old: an upload writes its files before it publishes them, and the readers of a deleted asset may not have finished.
"""

import asyncio
import secrets
from collections.abc import Callable, Container
from typing import Final, NamedTuple

from pymongo.errors import PyMongoError

from services.backbone.health import Heartbeat
from services.backbone.logs import get_logger
from services.backbone.mongo import describe
from services.imageserver.core.assets import Asset, file_name
from services.imageserver.core.refusals import ImageRefused
from services.imageserver.metrics import Metrics
from services.imageserver.settings import Settings
from services.imageserver.store import AssetStore, LeaseStore, Volume, VolumeThreads
from services.imageserver.store.volume import DIRECTORIES, ListedFile

log = get_logger(__name__)

_LEASE: Final = "sweep"
_LEASE_MS: Final = 60_000
"""A replica that is killed in a sweep leaves it to another one after this time."""
_LONGEST_PAUSE_S: Final = 30.0
_HEARTBEAT_S: Final = 150.0
_MOST_REPORTED: Final = 20
"""Pictures with missing files that one sweep reports one by one. A lost volume has lost all."""


class SweepResult(NamedTuple):
    """The numbers of removed and of missing files."""

    removed: int
    missing: int


class Sweeper:
    """Sweeps the volume in intervals, if no other replica does."""

    def __init__(  # noqa: PLR0913, PLR0917 - its collaborators
        self,
        assets: AssetStore,
        leases: LeaseStore,
        volume: Volume,
        threads: VolumeThreads,
        settings: Settings,
        metrics: Metrics,
        *,
        now_ms: Callable[[], int],
    ) -> None:
        self._assets = assets
        self._leases = leases
        self._volume = volume
        self._threads = threads
        self._sweep_ms = round(1000 * settings.sweep_s)
        self._pause_s = min(settings.sweep_s, _LONGEST_PAUSE_S)
        self._stray_age_s = settings.stray_age_s
        self._metrics = metrics
        self._now_ms = now_ms
        self._holder = secrets.token_hex(8)
        self._prolonged_ms = 0
        self.stopping = False
        self.heartbeat = Heartbeat(limit_s=_HEARTBEAT_S)

    async def run(self) -> None:
        """Sweep until `stopping` is set. While the database or the volume is away, try again later."""
        while not self.stopping:
            self.heartbeat.beat()
            try:
                await self.sweep_if_due()
            except PyMongoError as error:
                log.warning("sweep_failed", error=describe(error))
            except (OSError, ImageRefused) as error:
                log.warning("sweep_failed", error=str(error))
            await asyncio.sleep(self._pause_s)

    async def sweep_if_due(self) -> SweepResult | None:
        """Sweep, unless another replica does or the last sweep was not long ago. Raises what `sweep` raises."""
        if not await self._prolong():
            return None
        result = await self.sweep()
        if result is not None:
            now_ms = self._now_ms()
            results = {"missing": result.missing}
            until_ms = now_ms + self._sweep_ms
            await self._leases.finish(_LEASE, self._holder, results, now_ms=now_ms, until_ms=until_ms)
            log.info("swept", removed=result.removed, missing=result.missing)
        return result

    async def sweep(self) -> SweepResult | None:
        """Sweep all directories. None: it was stopped, or another replica has taken over.

        Raises PyMongoError, OSError or ImageRefused if the database or the volume is away.
        """
        # The time of the volume, since its server has set the times of the files.
        oldest_s = await self._threads.run(self._volume.now_s) - self._stray_age_s
        removed = missing = damaged = 0
        for directory in DIRECTORIES:
            if not await self._continues():
                return None
            # The documents first: a file that was listed before its asset was published would look like a stray.
            assets = {asset.name: asset async for asset in self._assets.in_directory(directory)}
            found = await self._remove_strays(directory, assets.keys(), oldest_s)
            if found is None:
                return None
            listed, count = found
            removed += count
            for asset in assets.values():
                if not await self._continues():
                    return None
                if gone := await self._missing_files(asset, listed):
                    missing, damaged = missing + len(gone), damaged + 1
                    if damaged <= _MOST_REPORTED:
                        log.error("files_missing", asset=asset.id, files=len(gone), path=gone[0])
        if damaged > _MOST_REPORTED:
            log.error("many_files_missing", assets=damaged, files=missing)
        return SweepResult(removed, missing)

    async def _remove_strays(
        self, directory: str, published: Container[str], oldest_s: float
    ) -> tuple[set[str], int] | None:
        """Return the paths of a directory, and how many of them were removed. None: the sweep must end."""
        listed: set[str] = set()
        removed = 0
        pieces, end = self._volume.list(directory), list[ListedFile]()
        while piece := await self._threads.run(next, pieces, end):
            listed.update(file.path for file in piece)
            for file in piece:
                if not await self._continues():
                    return None
                if file.name not in published and file.modified_s < oldest_s:
                    removed += await self._remove(file.path, file.name)
        return listed, removed

    async def _continues(self) -> bool:
        """Prolong the lease if necessary. Return False if the sweep must end."""
        self.heartbeat.beat()
        return not self.stopping and await self._keep_lease()

    async def _keep_lease(self) -> bool:
        return self._now_ms() < self._prolonged_ms + _LEASE_MS // 4 or await self._prolong()

    async def _prolong(self) -> bool:
        self._prolonged_ms = now_ms = self._now_ms()
        return await self._leases.take(_LEASE, self._holder, now_ms=now_ms, until_ms=now_ms + _LEASE_MS)

    async def _remove(self, path: str, name: str) -> int:
        if await self._assets.is_published(name):
            return 0
        await self._threads.run(self._volume.remove_file, path)
        self._metrics.strays.inc()
        return 1

    async def _missing_files(self, asset: Asset, listed: set[str]) -> list[str]:
        """Return the paths of an asset that are not on the volume. None are missing if it was deleted meanwhile."""
        paths = [file_name(asset.name, size, kind) for size, types in asset.files.items() for kind in types]
        gone = [path for path in paths if path not in listed and not await self._threads.run(self._volume.exists, path)]
        return gone if gone and await self._assets.is_published(asset.name) else []

    async def refresh_metrics(self) -> None:
        """Set the metrics of the volume, the assets and the last sweep. Raises what `sweep` raises.

        Every replica exports the last sweep, whichever ran it. Otherwise the files that one replica missed would stay
        in its metrics after another one has found them.
        """
        size, free = await self._threads.run(self._volume.space)
        self._metrics.volume_bytes.set(size)
        self._metrics.volume_free.set(free)
        self._metrics.assets.set(await self._assets.count())
        history = await self._leases.history(_LEASE)
        if history is not None:
            last_ms = history.started_ms if history.finished_ms is None else history.finished_ms
            self._metrics.last_sweep.set((self._now_ms() - last_ms) / 1000)
            self._metrics.missing.set(history.results.get("missing", 0))
