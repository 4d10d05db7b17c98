"""The stored assets: their documents in MongoDB, and their files on the volume.

- `assets`: which assets are published, and under which keys
- `leases`: which replica does the work that only one may do at a time
- `volume`: the files, by blocking calls
- `threads`: the threads that run these calls, with a time limit for each
- `scratch`: the local directory for uploads in work
"""

from services.imageserver.store.assets import AssetStore, create_indexes
from services.imageserver.store.leases import LeaseStore
from services.imageserver.store.threads import VolumeThreads
from services.imageserver.store.volume import FileGone, Volume

__all__ = ["AssetStore", "FileGone", "LeaseStore", "Volume", "VolumeThreads", "create_indexes"]
