"""Counters in Redis: what the statistics consumers write and kafidx reads.

Exactness: the counts of a batch, the ids of its events and the partition's next offset are written in one script, and
only if the stored offset is the one that the batch begins at. So a kill between poll and write counts nothing, a repeat
is refused, and a member that lost its partition in a rebalance and does not know it yet can't count what its successor
has counted.

Copies: the same script refuses a batch that holds an id which the counter has counted already, in whatever partition
and by whatever member, and says which; the caller folds the batch again without the copies. The ids are kept as
fingerprints in two sets, a newer and an older generation (see IdWindow). No key ever expires by itself: counts,
positions and ids are lost together, and what Redis forgets, its last second or all, is counted again from there.
"""

from services.backbone.counters.positions import Positions, parse_positions, position_error
from services.backbone.counters.store import (
    OTHER_LABEL,
    PROGRESS_FIELDS,
    CounterStore,
    CounterStoreError,
    Description,
    IdWindow,
    Outcome,
    Progress,
    Update,
)

__all__ = [
    "OTHER_LABEL",
    "PROGRESS_FIELDS",
    "CounterStore",
    "CounterStoreError",
    "Description",
    "IdWindow",
    "Outcome",
    "Positions",
    "Progress",
    "Update",
    "parse_positions",
    "position_error",
]
