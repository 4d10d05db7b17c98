"""The context of the routes: the objects that all of them use."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from services.imageserver.core.limits import PictureLimits
from services.imageserver.metrics import Metrics
from services.imageserver.pixels import PicturePool
from services.imageserver.settings import Settings
from services.imageserver.store import AssetStore, Volume, VolumeThreads


class ImageContext(NamedTuple):
    """The stores, the workers, the settings and the functions that the routes call."""

    assets: AssetStore
    volume: Volume
    reading: VolumeThreads
    writing: VolumeThreads
    """Threads of their own: uploads never delay readers."""
    pool: PicturePool
    limits: PictureLimits
    scratch: Path
    """A local directory of this process alone."""
    settings: Settings
    metrics: Metrics
    now_ms: Callable[[], int]
