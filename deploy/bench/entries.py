"""Events for benches, made from the lines of an access log, each with its own id."""

import time
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

from uuid_utils import uuid7

from deploy.operate.access_log import TrackingRequest
from services.backbone.events import RawEvent, Record, encode_raw
from services.backbone.logs import configure_logging
from services.kafkastore.core.entries import prepare
from services.kafkastore.lookups import DeviceLookup, LocationLookup

EXAMPLE_LOG = Path(__file__).parents[2] / "tests" / "examples" / "access.log"


def entries(requests: Sequence[TrackingRequest], count: int) -> Iterator[bytes]:
    """Yield queue entries as a tracker makes them from these requests, repeated."""
    now_ms = time.time_ns() // 1_000_000
    for request in islice(cycle(requests), count):
        path, _, query = request.target.partition("?")
        yield encode_raw(
            RawEvent(
                id=str(uuid7()),
                received_at_ms=now_ms,
                address=request.address,
                host=b"trk.example.org",
                pod="10.0.0.7",
                path=path.encode(),
                query=query.encode(),
                user_agent=request.user_agent.encode(),
                referrer=request.referrer.encode(),
            )
        )


def records(requests: Sequence[TrackingRequest], count: int, *, database: Path | None) -> Iterator[Record]:
    """Yield records of the topic as kafkastore makes them from those entries."""
    configure_logging(service="bench", level="WARNING", output="text")  # standard output is for results
    devices = DeviceLookup()
    with LocationLookup([database] if database else []) as locations:
        for entry in entries(requests, count):
            record = prepare(
                entry,
                now_ms=time.time_ns() // 1_000_000,
                ip_mode="truncated",
                locate=locations.locate,
                classify=devices.classify,
            )
            if isinstance(record, Record):
                yield record
