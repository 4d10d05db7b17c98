"""Counters in Redis. The statistics consumers write them, and kafidx reads them.

Exactness: one script writes the counts of a batch, the ids of its events and the next offset of the partition. It
writes only if the stored offset equals the first offset of the batch. So after a kill between poll and write, nothing
is counted, and a repeated batch is rejected. A member may lose its partition in a rebalance without an immediate
notice. It can't count records that the new member has counted.

Duplicates: the same script rejects a batch that contains the fingerprint (`events.fingerprint`: key and id) of an event
that the counter has already counted, in any partition and by any member. It returns the duplicates, and the caller
folds the batch again without them. The fingerprints are in two sets, a newer and an older generation (see IdWindow). No
key expires by itself, so counts, positions and fingerprints are lost only together. If Redis loses the writes of its
last second, or all data, the consumers count the lost part again.

Positions belong to the topic with one topic id. When the topic is created again, `adopt_topic` discards all positions
in one step.
"""

from services.backbone.counters.positions import Positions, parse_positions, position_error
from services.backbone.counters.store import (
    OTHER_LABEL,
    PROGRESS_FIELDS,
    ApplyResult,
    CounterStore,
    CounterStoreError,
    Description,
    IdWindow,
    Progress,
    RankedCounts,
    Update,
)

__all__ = [
    "OTHER_LABEL",
    "PROGRESS_FIELDS",
    "ApplyResult",
    "CounterStore",
    "CounterStoreError",
    "Description",
    "IdWindow",
    "Positions",
    "Progress",
    "RankedCounts",
    "Update",
    "parse_positions",
    "position_error",
]
