"""The tracker's settings. Every buffer and every wait of the service has its bound here."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from services.backbone.settings import (
    CommaSeparated,
    EventSizeSettings,
    Port,
    ProcessSettings,
    ProxySettings,
    QueueRedisSettings,
    Seconds,
)

# The number of copies of a long target in memory during a request: as received, as path, as query, as event.
_TARGET_FACTOR = 5
# The headers of one request, and the application's memory for it.
_HEADERS_BYTES = 262_144
_BATCH_PATHS = "/batch,/v1/batch,/v1/b,/v1/import,/beacon/v1/batch"
_PERSON_PARAMETERS = "di,by,uid,userid,user_id,anonymousid,anonymous_id,deviceid,device_id,email"


Words = Annotated[tuple[str, ...], CommaSeparated]


_PATH = re.compile(r"/[\w.~%!$&'()*+;=:@/-]*", re.ASCII)


class Settings(EventSizeSettings, ProcessSettings, QueueRedisSettings, ProxySettings):
    """Settings of one tracker."""

    host: str = Field("127.0.0.1", alias="TRACKER_HOST")
    """The address that the public port listens on. Containers set 0.0.0.0."""
    port: Port = Field(5222, alias="TRACKER_PORT")
    """The public port."""

    batch_paths: Words = Field(tuple(_BATCH_PATHS.split(",")), alias="TRACKER_BATCH_PATHS")
    """Paths where a POST is a batch, also with doubled and trailing slashes. The default has the paths of posthog
    (/batch/) and of the Segment libraries (the others). A batch at another path is stored as one event."""
    max_batch_bytes: int = Field(8_388_608, ge=1024, le=268_435_456, alias="TRACKER_MAX_BATCH_BYTES")
    """The largest body of a batch in bytes, both as sent and as unpacked: about 20,000 usual events."""
    max_batch_events: int = Field(10_000, ge=1, le=100_000, alias="TRACKER_MAX_BATCH_EVENTS")
    """The most entries of one batch."""
    max_body_bytes: int = Field(33_554_432, ge=1024, alias="TRACKER_MAX_BODY_BYTES")
    """Bytes of all bodies that are being read. Beyond it new bodies get 503."""
    body_timeout_s: Seconds = Field(20.0, alias="TRACKER_BODY_TIMEOUT_S")
    """Seconds that a client may take to send a request, and that a half-closed client may take to read its
    responses."""
    max_connections: int = Field(4096, ge=1, alias="TRACKER_MAX_CONNECTIONS")
    """The most open connections. Beyond it new connections get 503. The process needs as many file descriptors."""
    max_address_connections: int = Field(512, ge=1, alias="TRACKER_MAX_ADDRESS_CONNECTIONS")
    """The most connections of one IPv4 address or one IPv6 /64. An address may also use only this part of
    TRACKER_MAX_BUFFER_BYTES. It does not apply to TRUSTED_PROXIES."""
    max_buffer_bytes: int = Field(67_108_864, ge=1_048_576, alias="TRACKER_MAX_BUFFER_BYTES")
    """Bytes that all connections buffer: unfinished heads, requests that the application processes (28 kB each), pieces
    of bodies not yet read, responses that clients do not read. Beyond it requests get 503."""

    direct_gets: bool = Field(default=True, alias="TRACKER_DIRECT_GETS")
    """on: plain GETs get their response from the parser. off: all requests pass the application, ten times slower."""
    max_pending_events: int = Field(50_000, ge=1, alias="TRACKER_MAX_PENDING_EVENTS")
    """The most events that wait for the push in flight: about two pushes at full load. Beyond it events get 503."""
    max_pending_bytes: int = Field(33_554_432, ge=1024, alias="TRACKER_MAX_PENDING_BYTES")
    """The most bytes that wait for the push in flight. Beyond it events get 503."""
    push_timeout_s: Seconds = Field(2.0, le=4.0, alias="TRACKER_PUSH_TIMEOUT_S")
    """Seconds that Redis may take to connect, and to confirm one push. At a stop one push may be in flight and one may
    wait, so the maximum keeps a stop within ten seconds."""
    spool_directory: Path | None = Field(None, alias="TRACKER_SPOOL_DIRECTORY")
    """The directory where events wait on disk while Redis does not confirm. Several trackers may share it. It must
    outlive the process: a volume, not the file system of a container. Empty: these events get 503."""
    spool_bytes: int = Field(1_073_741_824, ge=1_048_576, alias="TRACKER_SPOOL_BYTES")
    """The most bytes that this tracker spools: about an hour at 1,000 events a second. Beyond it events get 503."""
    spool_after_s: Seconds = Field(0.1, le=4.0, alias="TRACKER_SPOOL_AFTER_S")
    """Seconds that Redis may take to confirm a push before the push goes to the spool. Clients wait this long once per
    outage. A push that is spooled too early costs one write to disk, so the value is short."""
    drain_s: float = Field(1.0, ge=0.0, le=4.0, alias="TRACKER_DRAIN_S")
    """Seconds to serve after SIGTERM, until load balancers have seen that this process is not ready."""

    honour_opt_out: bool = Field(default=True, alias="HONOUR_OPT_OUT")
    """on: an event with Sec-GPC: 1 or DNT: 1 loses its personal data."""
    person_parameters: Words = Field(tuple(_PERSON_PARAMETERS.split(",")), alias="TRACKER_PERSON_PARAMETERS")
    """Parameters that identify a person. Upper and lower case are equal. They are removed for visitors who opted
    out."""
    pod_address: str = Field("", alias="POD_ADDRESS")
    """The tracker's own address in events. Empty: the tracker determines it at its start."""

    @field_validator("batch_paths")
    @classmethod
    def _paths_are_paths(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for path in value:
            if not _PATH.fullmatch(path):
                raise ValueError(f"{path!r} is not a path. Write it like /v1/batch, without a query")
        return value

    @model_validator(mode="after")
    def _what_is_allowed_fits(self) -> Self:
        """Reject limits that would refuse an allowed request at every retry."""
        request_bytes = _TARGET_FACTOR * self.max_event_bytes
        bounds = [
            ("TRACKER_MAX_BODY_BYTES", self.max_body_bytes, "MAX_EVENT_BYTES", self.max_event_bytes),
            ("TRACKER_MAX_BODY_BYTES", self.max_body_bytes, "TRACKER_MAX_BATCH_BYTES", self.max_batch_bytes),
            # An empty queue accepts any batch. Under load, a batch above the limit would never fit.
            ("TRACKER_MAX_PENDING_BYTES", self.max_pending_bytes, "TRACKER_MAX_BATCH_BYTES", self.max_batch_bytes),
            ("TRACKER_MAX_BUFFER_BYTES", self.max_buffer_bytes, f"{_TARGET_FACTOR} x MAX_EVENT_BYTES", request_bytes),
            ("TRACKER_MAX_PENDING_EVENTS", self.max_pending_events, "TRACKER_MAX_BATCH_EVENTS", self.max_batch_events),
        ]
        if self.spool_directory is not None:
            bounds.append(("TRACKER_SPOOL_BYTES", self.spool_bytes, "TRACKER_MAX_BATCH_BYTES", self.max_batch_bytes))
        errors = [f"{all_} ({has}) must be at least {one} ({needs})" for all_, has, one, needs in bounds if has < needs]
        if errors:
            raise ValueError("; ".join(errors))
        return self

    @property
    def max_address_buffer_bytes(self) -> int:
        """The bytes that one address may buffer: in proportion to its connections, and at least one request."""
        part = min(self.max_address_connections / self.max_connections, 1.0)
        one_request = _TARGET_FACTOR * self.max_event_bytes + _HEADERS_BYTES
        return min(max(int(part * self.max_buffer_bytes), one_request), self.max_buffer_bytes)
