"""Add up the memory that a tracker may use, from its settings.

Each factor is the memory that Python's objects, copies and the allocator use for one byte that a setting allows. The
sum leaves out the page cache and the kernel's socket buffers. The kernel drops packets before it kills a process for
its socket buffers.
"""

from typing import Final, NamedTuple

from services.tracker.core.batch import ENCODED_PER_BATCH_BYTE
from services.tracker.core.bodies import DECODED_BYTES_PER_BYTE
from services.tracker.core.splitting import SPLIT_BYTES
from services.tracker.settings import Settings

_MEBIBYTE: Final = 1_048_576

# Measured after the first requests: 60 MB.
_PROCESS_BYTES: Final = 64 * _MEBIBYTE
# Measured: 7 kB for an idle connection. A response of up to 4 kB may wait for its client (routes/connections.py).
_CONNECTION_BYTES: Final = 7_168 + 4_096
# Connections over the limit that stay open for a second, so that the client can read its response
# (routes/connections.py).
_REFUSED_CONNECTIONS: Final = 256
# The counted bytes include Python's objects. The factor covers the allocator and the data of the current read.
_BUFFER_FACTOR: Final = 1.25
# A growing bytearray reserves an eighth more than its length.
_BODY_FACTOR: Final = 1.25
# A body below the size of a large one, decoded at the same time as a large one (routes/decoding.py).
_USUAL_BODY_BYTES: Final = 262_144
# The result of one entry and its JSON in the response.
_RESULT_BYTES: Final = 512
# A pending event: the entry, its position in the queue, and the callback.
_PENDING_EVENT_BYTES: Final = 600
# One push holds at most 8 MiB, or the events of one larger batch.
_PUSH_BYTES: Final = 8 * _MEBIBYTE
# A push in flight: its entries, the Redis command, the spool record. A replayed push: its entries, the Redis command.
_PUSH_FACTOR: Final = 5


class Part(NamedTuple):
    """A part of the sum."""

    what: str
    size: int
    settings: str
    """The variables that determine the size, with their values; empty when there are none."""


def memory_parts(settings: Settings) -> list[Part]:
    """Return the maximum memory of a tracker with these settings, in parts."""
    push_bytes = max(_PUSH_BYTES, ENCODED_PER_BATCH_BYTE * settings.max_batch_bytes, settings.max_event_bytes)
    # One large body and one other body are decoded at a time. Each has one decoded entry, its encoded events and its
    # results in memory. The large body is also unpacked and split.
    one_body = DECODED_BYTES_PER_BYTE * settings.max_event_bytes + ENCODED_PER_BATCH_BYTE * settings.max_batch_bytes
    results = _RESULT_BYTES * settings.max_batch_events
    decoding = 2 * (one_body + results) + settings.max_batch_bytes + SPLIT_BYTES + _USUAL_BODY_BYTES
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
            "incomplete heads and requests in process",
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
            "pending events",
            pending,
            f"TRACKER_MAX_PENDING_BYTES={settings.max_pending_bytes}, "
            f"TRACKER_MAX_PENDING_EVENTS={settings.max_pending_events}",
        ),
        Part("pushes in flight", _PUSH_FACTOR * push_bytes, batch_bytes),
    ]


def memory_error(settings: Settings, *, limit_bytes: int, source: str) -> str | None:
    """Return an error message when these settings allow more memory than the limit; None when they fit.

    `source` is the file that holds the limit.
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
