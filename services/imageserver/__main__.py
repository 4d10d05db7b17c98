"""Start the imageserver: `python -m services.imageserver`."""

import asyncio
import os
from functools import partial

from services.backbone.clock import clock_ms
from services.backbone.process import load_settings, run_until_stopped
from services.imageserver.app import SweepLoop, run
from services.imageserver.metrics import Metrics
from services.imageserver.settings import Settings
from services.imageserver.store import AssetStore, LeaseStore, Volume, VolumeThreads
from services.imageserver.worker import Sweeper


def create_sweep_loop(  # noqa: PLR0913, PLR0917 - the collaborators of a sweeper
    settings: Settings,
    assets: AssetStore,
    leases: LeaseStore,
    volume: Volume,
    threads: VolumeThreads,
    metrics: Metrics,
) -> SweepLoop:
    """Build the loop of the sweeps."""
    sweeper = Sweeper(assets, leases, volume, threads, settings, metrics, now_ms=clock_ms)

    def stop() -> None:
        sweeper.stopping = True

    return SweepLoop(sweeper.run, stop, sweeper.heartbeat.check, sweeper.refresh_metrics)


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set."""
    await run(settings, stop, partial(create_sweep_loop, settings))


if __name__ == "__main__":
    loaded = load_settings(Settings, os.environ)
    run_until_stopped(partial(serve, loaded), loaded, service="imageserver")
