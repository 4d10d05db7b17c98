"""Counters in Redis: what the statistics consumers write and kafidx reads.

Exactness: one script writes the counts of a batch, the ids of its events and the next offset of the partition. It does
so only if the stored offset equals the first offset of the batch. So a kill between poll and write counts nothing, and
a repeated batch is rejected. A member that lost its partition in a rebalance, and has not noticed, can't count records
that its successor has counted.

Duplicates: the same script rejects a batch that contains the fingerprint (`events.fingerprint`: key and id) of an event
that the counter has already counted, in any partition and by any member. It returns the duplicates, and the caller
folds the batch again without them. The fingerprints are in two sets, a newer and an older generation (see IdWindow). No
key expires by itself: counts, positions and fingerprints are lost together. If Redis loses its last second or
everything, the consumers count the lost part again.

Positions belong to one topic, by its id. When the topic is created again, `adopt_topic` discards all of them in one
step.
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
