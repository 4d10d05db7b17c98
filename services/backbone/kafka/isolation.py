"""How all readers treat transactions of other programs. Push itself writes without transactions.

- Only committed records are read. Records of aborted transactions are stepped over.
- End offsets are last stable offsets: the first offset of the oldest open transaction, or the end of the partition.
- At the end of each transaction the broker writes a marker, which takes an offset. The client returns no record for a
  marker or an aborted record, but its position moves past them. So the next offset of a partition is the position of
  the client after a poll, not the offset after the last record. Otherwise a partition that ends with a marker would
  have a lag of 1 without end.
"""

from typing import Final

ISOLATION_LEVEL: Final = "read_committed"
