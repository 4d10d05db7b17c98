"""Counters in Redis: what the statistics consumers write and kafidx reads.

Exactness: the counts of a batch, the ids of its events and the partition's next offset are written in one script, and
only if the stored offset is the one that the batch begins at. So a kill between poll and write counts nothing, a repeat
is refused, and a member that lost its partition in a rebalance and does not know it yet can't count what its successor
has counted.

Copies: the same script refuses a batch that holds the fingerprint (`events.fingerprint`: key and id) of an event that
the counter has counted already, in whatever partition and by whatever member, and returns which; the caller folds the
batch again without the copies. The fingerprints are in two sets, a newer and an older generation (see IdWindow). No key
ever expires by itself: counts, positions and fingerprints are lost together, and what Redis forgets, its last second or
all, is counted again from there.

Positions belong to one topic, by its id: when the topic is made anew, `adopt_topic` gives all of them up in one step.
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
    RankedCounts,
    Update,
    connect,
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
    "RankedCounts",
    "Update",
    "connect",
    "parse_positions",
    "position_error",
]
