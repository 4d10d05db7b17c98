"""The most memory that a tracker takes, added up from its settings.

Each factor is what Python's objects, copies and the allocator make of a byte that a setting allows. Not in the sum: the
kernel's socket buffers (it drops packets before it kills a process for them) and the pages of files.
"""

from typing import Final, NamedTuple

from services.tracker.core.batch import ENCODED_PER_BATCH_BYTE
from services.tracker.core.bodies import DECODED_BYTES_PER_BYTE
from services.tracker.core.splitting import SPLIT_BYTES
from services.tracker.settings import Settings

_MEBIBYTE: Final = 1_048_576

# Measured after the first requests: 60 MB.
_PROCESS_BYTES: Final = 64 * _MEBIBYTE
# Measured: 7 kB an idle connection; and a response of up to 4 kB that the client has not read (routes/connections.py).
_CONNECTION_BYTES: Final = 7_168 + 4_096
# Connections over the bound that may stay for a second to read their response (routes/connections.py).
_REFUSED_CONNECTIONS: Final = 256
# What is counted as buffered includes the objects; this is for the allocator, and for the piece that is being read.
_BUFFER_FACTOR: Final = 1.25
# A buffer that grows has an eighth to spare.
_BODY_FACTOR: Final = 1.25
# A body that is decoded beside a large one (routes/decoding.py).
_USUAL_BODY_BYTES: Final = 262_144
# The result of an entry, and its text in the response.
_RESULT_BYTES: Final = 512
# An event that waits: the entry, its place in the queue, the function to call when it is stored.
_PENDING_EVENT_BYTES: Final = 600
# One push holds at most 8 MiB, or the events of one batch.
_PUSH_BYTES: Final = 8 * _MEBIBYTE
# The entries, the command to Redis, the record for the spool; and the entries and the command of a replayed push.
_PUSH_FACTOR: Final = 5


class Part(NamedTuple):
    """A part of the sum."""

    what: str
    size: int
    settings: str
    """The variables that decide the size, with their values; empty when none does."""


def memory_parts(settings: Settings) -> list[Part]:
    """Return what a tracker with these settings takes at most, in parts."""
    push_bytes = max(_PUSH_BYTES, ENCODED_PER_BATCH_BYTE * settings.max_batch_bytes, settings.max_event_bytes)
    # A large body and a usual one at a time: each with one entry decoded, its events encoded, and the results. A large
    # one is unpacked and split as well.
    in_hand = DECODED_BYTES_PER_BYTE * settings.max_event_bytes + ENCODED_PER_BATCH_BYTE * settings.max_batch_bytes
    results = _RESULT_BYTES * settings.max_batch_events
    decoding = 2 * (in_hand + results) + settings.max_batch_bytes + SPLIT_BYTES + _USUAL_BODY_BYTES
    pending = settings.max_pending_bytes + _PENDING_EVENT_BYTES * settings.max_pending_events
    batch_bytes = f"TRACKER_MAX_BATCH_BYTES={settings.max_batch_bytes}"
    batch_events = f"TRACKER_MAX_BATCH_EVENTS={settings.max_batch_events}"
    return [
        Part("the process at rest", _PROCESS_BYTES, ""),
        Part(
            "connections",
            (settings.max_connections + _REFUSED_CONNECTIONS) * _CONNECTION_BYTES,
            f"TRACKER_MAX_CONNECTIONS={settings.max_connections}",
        ),
        Part(
            "heads and requests in hand",
            int(_BUFFER_FACTOR * settings.max_buffer_bytes),
            f"TRACKER_MAX_BUFFER_BYTES={settings.max_buffer_bytes}",
        ),
        Part(
            "bodies",
            int(_BODY_FACTOR * settings.max_body_bytes),
            f"TRACKER_MAX_BODY_BYTES={settings.max_body_bytes}",
        ),
        Part(
            "two bodies being decoded",
            decoding,
            f"{batch_bytes}, {batch_events}, MAX_EVENT_BYTES={settings.max_event_bytes}",
        ),
        Part(
            "events that wait for a push",
            pending,
            f"TRACKER_MAX_PENDING_BYTES={settings.max_pending_bytes}, "
            f"TRACKER_MAX_PENDING_EVENTS={settings.max_pending_events}",
        ),
        Part("pushes in flight", _PUSH_FACTOR * push_bytes, batch_bytes),
    ]


def memory_error(settings: Settings, *, limit_bytes: int, source: str) -> str | None:
    """Return why a tracker with these settings cannot run within a limit on memory; None when it can.

    `source` says where the limit was read.
    """
    parts = memory_parts(settings)
    most = sum(part.size for part in parts)
    if most <= limit_bytes:
        return None
    error = (
        f"these settings allow the tracker {_mebibytes(most)} of memory, but its limit is {_mebibytes(limit_bytes)} "
        f"({source}). Raise the limit of the container, or lower a setting:"
    )
    return "\n".join([error, *(f"  {_mebibytes(part.size)} {part.what}: {part.settings or 'fixed'}" for part in parts)])


def _mebibytes(size: int) -> str:
    return f"{size / _MEBIBYTE:.0f} MiB"
