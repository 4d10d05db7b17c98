"""Settings of the imageserver."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from services.backbone.settings import (
    LOCAL_MONGO,
    MongoUrl,
    PageSettings,
    Password,
    Port,
    ProcessSettings,
    ProxySettings,
    Seconds,
    is_loopback,
)


class Settings(ProcessSettings, ProxySettings, PageSettings):
    """Settings of one imageserver process."""

    host: str = Field("127.0.0.1", alias="IMAGESERVER_HOST")
    """The address that the public port listens on. Containers set 0.0.0.0. Any address but loopback needs a
    password."""
    port: Port = Field(5061, alias="IMAGESERVER_PORT")
    """The port of pictures, uploads and the pages."""
    mongo_url: MongoUrl = Field(LOCAL_MONGO, alias="IMAGESERVER_MONGO_URL")
    """The replica set of the assets. It may have a password: mongodb://user:password@host:27017/?replicaSet=rs0."""
    database: str = Field("assets", pattern=r"^[A-Za-z0-9_-]{1,60}$", alias="IMAGESERVER_DATABASE")
    """The database of the assets."""
    volume: Path = Field(Path("/var/tmp/push-images"), alias="IMAGESERVER_VOLUME")  # noqa: S108 - for local use
    """The directory of the files. All replicas share it: a plain directory on one machine, an NFS mount in a
    cluster."""
    scratch: Path = Field(Path("/var/tmp"), alias="IMAGESERVER_SCRATCH")  # noqa: S108 - the directory below is private
    """A local directory for uploads in work. Each process makes its own directory below it, and removes it at its end.
    It needs IMAGESERVER_MAX_BYTES for each upload in work and about as much for its files."""
    user: str = Field("images", alias="IMAGESERVER_USER")
    """The user name of services and operators. They may do all."""
    password: Password | None = Field(None, alias="IMAGESERVER_PASSWORD")
    """The password of services and operators, at least 12 characters. Empty: no password; the imageserver then starts
    on loopback only, and everybody there may do all."""
    app_user: str = Field("app", alias="IMAGESERVER_APP_USER")
    """The user name that all phones share. They may upload to /assets/upload, and nothing else."""
    app_password: Password | None = Field(None, alias="IMAGESERVER_APP_PASSWORD")
    """The password that all phones share, at least 12 characters. Empty: phones cannot upload."""

    max_bytes: int = Field(20_000_000, ge=10_000, le=100_000_000, alias="IMAGESERVER_MAX_BYTES")
    """The largest upload in bytes."""
    max_pixels: int = Field(50_000_000, ge=10_000, le=200_000_000, alias="IMAGESERVER_MAX_PIXELS")
    """The most pixels of a picture. A JPEG of this size is decoded at a half of its sides; other formats have lower
    limits, which follow from the memory of a worker."""
    max_frames: int = Field(1_000, ge=1, le=9_000, alias="IMAGESERVER_MAX_FRAMES")
    """The most frames of an animation. Only its first frame is kept."""
    workers: int = Field(2, ge=1, le=64, alias="IMAGESERVER_WORKERS")
    """The number of processes that decode pictures. Each takes one core and up to IMAGESERVER_WORKER_MB of memory."""
    worker_mb: int = Field(300, ge=100, le=4_000, alias="IMAGESERVER_WORKER_MB")
    """The memory in MB that a picture may take in a worker, besides that of an idle one."""
    work_timeout_s: Seconds = Field(3.5, le=60.0, alias="IMAGESERVER_WORK_TIMEOUT_S")
    """Seconds that a worker may take for one picture. Then it is killed, and the upload is refused."""
    queue: int = Field(8, ge=0, le=1_000, alias="IMAGESERVER_QUEUE")
    """The number of pictures that wait for a worker. A further upload gets 429."""
    queue_timeout_s: Seconds = Field(1.0, le=60.0, alias="IMAGESERVER_QUEUE_TIMEOUT_S")
    """Seconds that a picture may wait for a worker. Then its upload gets 429. An upload gets its response within this
    time and IMAGESERVER_WORK_TIMEOUT_S after its last byte, while MongoDB responds."""
    max_uploads: int = Field(64, ge=1, le=10_000, alias="IMAGESERVER_MAX_UPLOADS")
    """The number of uploads whose bytes arrive at once. A further one gets 429."""
    upload_stall_s: Seconds = Field(10.0, le=600.0, alias="IMAGESERVER_UPLOAD_STALL_S")
    """Seconds without a byte after which an upload is cut off, and the time until its rate is checked."""
    upload_least_rate: int = Field(4_000, ge=0, alias="IMAGESERVER_UPLOAD_LEAST_RATE")
    """The least rate of an upload in bytes a second, as a mean since its begin. A slower one is cut off."""
    upload_timeout_s: Seconds = Field(120.0, le=3_600.0, alias="IMAGESERVER_UPLOAD_TIMEOUT_S")
    """Seconds in which all bytes of an upload must arrive. Otherwise slow clients could take all of
    IMAGESERVER_MAX_UPLOADS: at the least rate, 20 MB take 83 minutes. 20 MB in 120 s are 170 kB a second."""
    volume_timeout_s: Seconds = Field(5.0, le=60.0, alias="IMAGESERVER_VOLUME_TIMEOUT_S")
    """Seconds that the volume may take for one step. Then the response is 503."""
    volume_threads: int = Field(8, ge=2, le=64, alias="IMAGESERVER_VOLUME_THREADS")
    """The number of threads that read files, and of those that write them. Other work never waits for them."""
    key_max_age_s: int = Field(60, ge=0, le=86_400, alias="IMAGESERVER_KEY_MAX_AGE_S")
    """Seconds that browsers keep a picture under the key of a caller before they ask again. A picture under its id
    never changes, and browsers keep it for a year."""
    sweep_s: Seconds = Field(600.0, ge=1.0, alias="IMAGESERVER_SWEEP_S")
    """Seconds between two sweeps, which remove files that belong to no asset. One replica at a time does it."""
    stray_age_s: Seconds = Field(3_600.0, ge=1.0, alias="IMAGESERVER_STRAY_AGE_S")
    """Seconds after which a file that belongs to no asset is removed. Longer than an upload takes, and than a reader
    of a deleted asset."""

    @property
    def store_timeout_s(self) -> float:
        """Seconds from the last byte of an upload until its files are on the volume, or it is refused."""
        return self.queue_timeout_s + self.work_timeout_s

    @model_validator(mode="after")
    def _roles_differ(self) -> Self:
        if ":" in self.user or ":" in self.app_user:
            raise ValueError("IMAGESERVER_USER and IMAGESERVER_APP_USER must not contain a colon (RFC 7617)")
        if self.app_password is not None and (self.app_user == self.user or self.password is None):
            raise ValueError(
                "IMAGESERVER_APP_PASSWORD needs IMAGESERVER_PASSWORD, and IMAGESERVER_APP_USER another name"
            )
        return self

    @model_validator(mode="after")
    def _open_to_this_machine_only(self) -> Self:
        if self.password is None and not is_loopback(self.host):
            raise ValueError("IMAGESERVER_PASSWORD is not set: then IMAGESERVER_HOST must be a loopback address")
        return self
