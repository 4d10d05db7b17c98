"""The tracker's settings. Every buffer and every wait of the service has its bound here."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from services.backbone.settings import (
    LOCAL_REDIS,
    CommaSeparated,
    EventSizeSettings,
    Port,
    ProcessSettings,
    RedisUrl,
    Seconds,
)

_PERSON_PARAMETERS = "di,by,uid,userid,user_id,anonymousid,anonymous_id,deviceid,device_id,email"


Words = Annotated[tuple[str, ...], CommaSeparated]


_LEAST_SPOOL_BYTES = 1_048_576


class Settings(EventSizeSettings, ProcessSettings):
    """Settings of one tracker. What bounds memory and connections bounds each of its worker processes."""

    host: str = Field("127.0.0.1", alias="TRACKER_HOST")
    """Containers set 0.0.0.0; a process on a developer's machine is nobody else's business."""
    port: Port = Field(5222, alias="TRACKER_PORT")
    """The public port."""
    workers: int = Field(1, ge=1, le=64, alias="TRACKER_WORKERS")
    """Processes that share the public port, one a core; with 1 there is this process and no other."""
    redis_url: RedisUrl = Field(LOCAL_REDIS, alias="REDIS_URL")
    """The Redis of the queue: beside this tracker, or shared."""

    max_batch_bytes: int = Field(8_388_608, ge=1024, le=268_435_456, alias="TRACKER_MAX_BATCH_BYTES")
    """The largest body of a batch, as sent and as unpacked: some 20,000 usual events."""
    max_batch_events: int = Field(10_000, ge=1, le=100_000, alias="TRACKER_MAX_BATCH_EVENTS")
    """The most entries of one batch."""
    max_body_bytes: int = Field(67_108_864, ge=1024, alias="TRACKER_MAX_BODY_BYTES")
    """What all bodies being read may hold together; beyond it new ones are answered 503."""
    body_timeout_s: Seconds = Field(20.0, alias="TRACKER_BODY_TIMEOUT_S")
    """A client that takes longer to send its request is given up."""
    max_connections: int = Field(4096, ge=1, alias="TRACKER_MAX_CONNECTIONS")
    """Each may hold a head as large as an event before it is a request; beyond it new ones are answered 503. The
    process needs as many file descriptors."""

    direct_gets: bool = Field(default=True, alias="TRACKER_DIRECT_GETS")
    """Answer plain GETs straight from the parser. Off: all requests go through the application, ten times slower."""
    max_pending_events: int = Field(50_000, ge=1, alias="TRACKER_MAX_PENDING_EVENTS")
    """What may wait for the push in flight; beyond it events are answered 503. About two pushes' worth at full load."""
    max_pending_bytes: int = Field(67_108_864, ge=1024, alias="TRACKER_MAX_PENDING_BYTES")
    """The most bytes that wait for the push in flight. Beyond it events get 503."""
    push_timeout_s: Seconds = Field(2.0, le=4.0, alias="TRACKER_PUSH_TIMEOUT_S")
    """How long Redis may take to connect, and to confirm one push. At a stop one push may be in flight and one
    behind it, so the limit keeps the stop within ten seconds."""
    spool_directory: Path | None = Field(None, alias="TRACKER_SPOOL_DIRECTORY")
    """Where events wait on disk while Redis does not confirm; several trackers may share it. None: they are answered
    503 then. Must outlive the process: a volume, not the file system of a container."""
    spool_bytes: int = Field(1_073_741_824, ge=_LEAST_SPOOL_BYTES, alias="TRACKER_SPOOL_BYTES")
    """The most that the tracker spools, in equal parts for its workers, since a volume does not grow with their number;
    beyond it events are answered 503. An hour or so at 1,000 events a second."""
    spool_after_s: Seconds = Field(0.1, le=4.0, alias="TRACKER_SPOOL_AFTER_S")
    """How long Redis may take to confirm a push before it is spooled. Clients wait for it once an outage, and a push
    that is spooled too early costs one write to disk, so it is short."""
    drain_s: float = Field(1.0, ge=0.0, le=4.0, alias="TRACKER_DRAIN_S")
    """How long to serve on after SIGTERM, until whoever balances the load has seen that this process is not ready."""

    trusted_proxies: Words = Field((), alias="TRUSTED_PROXIES")
    """Networks (CIDR) whose word on the client's address is taken. None by default: else anyone could forge it."""
    honour_opt_out: bool = Field(default=True, alias="HONOUR_OPT_OUT")
    """Sec-GPC: 1 or DNT: 1 strips the event of its person."""
    person_parameters: Words = Field(tuple(_PERSON_PARAMETERS.split(",")), alias="TRACKER_PERSON_PARAMETERS")
    """Parameters that tell who the person is, in any case of letters: removed for visitors who opted out."""
    pod_address: str = Field("", alias="POD_ADDRESS")
    """This tracker's own address as events carry it; found out at start when empty."""

    @field_validator("trusted_proxies")
    @classmethod
    def _networks_are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                ip_network(text, strict=False)
            except ValueError:
                raise ValueError(f"{text!r} is no network; write it like 10.0.0.0/8 or ::1/128") from None
        return value

    @model_validator(mode="after")
    def _what_is_allowed_fits(self) -> Self:
        """Refuse limits under which a request that is allowed would be told to come again, however often it comes."""
        bounds = (
            ("TRACKER_MAX_BODY_BYTES", self.max_body_bytes, "MAX_EVENT_BYTES", self.max_event_bytes),
            ("TRACKER_MAX_BODY_BYTES", self.max_body_bytes, "TRACKER_MAX_BATCH_BYTES", self.max_batch_bytes),
            # While nothing else waits any batch is taken; under load a larger one would never find the room.
            ("TRACKER_MAX_PENDING_BYTES", self.max_pending_bytes, "TRACKER_MAX_BATCH_BYTES", self.max_batch_bytes),
            ("TRACKER_MAX_PENDING_EVENTS", self.max_pending_events, "TRACKER_MAX_BATCH_EVENTS", self.max_batch_events),
        )
        faults = [f"{all_} ({has}) must be at least {one} ({needs})" for all_, has, one, needs in bounds if has < needs]
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @model_validator(mode="after")
    def _every_worker_has_a_spool(self) -> Self:
        if self.spool_bytes_each < _LEAST_SPOOL_BYTES:
            needs = _LEAST_SPOOL_BYTES * self.workers
            raise ValueError(
                f"TRACKER_SPOOL_BYTES ({self.spool_bytes}) must be at least {needs} for {self.workers} TRACKER_WORKERS"
            )
        return self

    @property
    def spool_bytes_each(self) -> int:
        """The most that one worker spools."""
        return self.spool_bytes // self.workers

    @property
    def trusted_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of TRUSTED_PROXIES."""
        return tuple(ip_network(text, strict=False) for text in self.trusted_proxies)
