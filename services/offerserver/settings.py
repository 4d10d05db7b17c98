"""Settings of the offerserver."""

from pathlib import Path
from typing import Annotated, Final, Self
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from services.backbone.settings import (
    LOCAL_REDIS,
    EnvSettings,
    OutgoingSettings,
    PageSettings,
    Password,
    Port,
    ProcessSettings,
    ProxySettings,
    RedisUrl,
    ScheduleSettings,
    Seconds,
    ServiceUrl,
    is_loopback,
)

UTC: Final = ZoneInfo("UTC")
_AREA_PARTS: Final = 3


def _area(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = value.split(",")
    try:
        latitude, longitude, range_km = float(parts[0]), float(parts[1]), int(parts[2])
    except (ValueError, IndexError):
        latitude, longitude, range_km = 91.0, 0.0, 0
    if len(parts) != _AREA_PARTS or not (abs(latitude) < 89 and abs(longitude) <= 180 and 1 <= range_km <= 200):  # noqa: PLR2004
        raise ValueError("must be latitude, longitude and 1 to 200 km, such as 52.52,13.405,25")
    return latitude, longitude, range_km


Area = Annotated[tuple[float, float, int], BeforeValidator(_area)]


class ImportSettings(EnvSettings):
    """Settings of the runs of importers."""

    redis_url: RedisUrl = Field(LOCAL_REDIS, alias="OFFERS_REDIS_URL")
    """The Redis of the importers: Celery's queue, leases, and what is known of runs. Its policy must be noeviction. It
    may have a password, like REDIS_URL."""
    storage_url: ServiceUrl = Field("http://127.0.0.1:5011", alias="OFFERS_STORAGE_URL")
    """The storage that gets the offers."""
    storage_user: str = Field("storage", alias="STORAGE_USER")
    """The user name of services and operators. They may do all."""
    storage_password: SecretStr | None = Field(None, alias="STORAGE_PASSWORD")
    """The password of services and operators, at least 12 characters. Empty: no password; storage then starts on
    loopback only, and everybody there may do all."""
    imageserver_url: ServiceUrl | None = Field(None, alias="OFFERS_IMAGESERVER_URL")
    """The imageserver that gets the pictures of offers. Empty: offers come without pictures."""
    imageserver_user: str = Field("images", alias="IMAGESERVER_USER")
    """The user name of services and operators. They may do all."""
    imageserver_password: SecretStr | None = Field(None, alias="IMAGESERVER_PASSWORD")
    """The password of services and operators, at least 12 characters. Empty: no password; the imageserver then starts
    on loopback only, and everybody there may do all."""
    contact: str = Field(
        "",
        max_length=200,
        pattern=r"^(https?://[\x21-\x7e]+|[\x21-\x3f\x41-\x7e]+@[\x21-\x3f\x41-\x7e]+)?$",
        alias="OFFERS_CONTACT",
    )
    """A URL or an e-mail address where the operators of sources can reach you. It is a part of the User-Agent: some
    sources block clients without one. Empty: no importer runs."""
    area: Area = Field((52.52, 13.405, 25), alias="OFFERS_AREA")
    """Latitude, longitude and km: the area that world-wide sources are asked for."""
    sources: Path | None = Field(None, alias="OFFERS_SOURCES")
    """A directory with YAML files of your own sources. Empty: only the named ones."""
    stale_days: float = Field(7.0, ge=0.01, le=365.0, alias="OFFERS_STALE_DAYS")
    """Days without a trusted run after which all offers of an importer are removed, unless its source has a time of its
    own. An alert comes a day before, or at three quarters of a shorter time."""
    run_limit_s: int = Field(900, ge=60, le=7200, alias="OFFERS_RUN_LIMIT_S")
    """Seconds after which a run is ended. Its process is killed 10 s later."""
    worker_processes: int = Field(8, ge=2, le=64, alias="OFFERS_WORKER_PROCESSES")
    """The most runs at a time. A worker has one process for each importer and two more, up to this number, because a
    source that does not respond occupies a process for minutes. A process takes up to 250 MB while it reads a large
    feed."""
    max_body_bytes: int = Field(10_000_000, ge=100_000, le=100_000_000, alias="OFFERS_MAX_BODY_BYTES")
    """The largest document in bytes, after decompression."""
    request_s: Seconds = Field(60.0, alias="OFFERS_REQUEST_S")
    """Seconds that a whole request to a source may take. A connection may take 10 s, and a wait for a piece 20 s."""
    host_delay_s: Seconds = Field(1.0, le=60.0, alias="OFFERS_HOST_DELAY_S")
    """Seconds between two requests to a host."""

    stand_in_url: ServiceUrl | None = Field(None, alias="OFFERS_STAND_IN_URL")
    """A server that gets the requests for feeds in place of the sources, as /HOST/PATH. The demo sets it. Empty:
    the sources get them."""

    @property
    def user_agent(self) -> str:
        """The User-Agent of requests to sources."""
        return f"push-offers (+{self.contact})"


class OfferScheduleSettings(ScheduleSettings):
    """Settings of the schedule. The crontabs of importers are in UTC, whatever SCHEDULE_ZONE is."""

    @property
    def zone(self) -> ZoneInfo:
        """UTC."""
        return UTC


class Settings(ProcessSettings, ProxySettings, PageSettings, OutgoingSettings, OfferScheduleSettings, ImportSettings):
    """Settings of one process of the offerserver."""

    host: str = Field("127.0.0.1", alias="OFFERS_HOST")
    """The address that the pages listen on. Containers set 0.0.0.0. Any address but loopback needs a password."""
    port: Port = Field(5000, alias="OFFERS_PORT")
    """The port of the pages."""
    user: str = Field("offers", alias="OFFERS_USER")
    """The user name of HTTP Basic."""
    password: Password | None = Field(None, alias="OFFERS_PASSWORD")
    """The password of HTTP Basic, at least 12 characters. Empty: no password; the pages are then on loopback only."""

    @model_validator(mode="after")
    def _user_is_valid(self) -> Self:
        if ":" in self.user:
            raise ValueError("OFFERS_USER must not contain a colon (RFC 7617)")
        return self


class OfferPagesSettings(Settings):
    """Settings of the process of the pages, the only one with their password."""

    @model_validator(mode="after")
    def _open_to_this_machine_only(self) -> Self:
        if self.password is None and not is_loopback(self.host):
            raise ValueError("OFFERS_PASSWORD is not set: then OFFERS_HOST must be a loopback address (local use)")
        return self
