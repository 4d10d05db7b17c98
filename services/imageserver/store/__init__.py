"""What is kept: the documents of assets in MongoDB, and their files on the volume.

- `assets`: which assets are published, and under which keys
- `leases`: which replica does what only one may do
- `volume`: the files, each operation in a thread with a time limit
"""

from services.imageserver.store.assets import AssetStore, create_indexes
from services.imageserver.store.leases import LeaseStore
from services.imageserver.store.threads import VolumeThreads
from services.imageserver.store.volume import FileGone, Volume

__all__ = ["AssetStore", "FileGone", "LeaseStore", "Volume", "VolumeThreads", "create_indexes"]
