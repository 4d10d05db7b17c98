"""Base classes of settings: read the environment once, be frozen, report all errors together, show no secret."""

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

# The value of each secret in `.env.template`. `python3 tasks.py dotenv.generate` replaces it.
PLACEHOLDER = "<generate>"


def _redis_url(value: SecretStr) -> SecretStr:
    # An error message must not contain the value, because it may have a password.
    try:
        parts = urlsplit(value.get_secret_value())
        _ = parts.port
    except ValueError:
        raise ValueError("is not a valid URL: its host or port is malformed") from None
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("must begin with redis://, rediss:// or unix://")
    if parts.scheme != "unix" and not parts.hostname:
        raise ValueError("has no host")
    if parts.scheme != "unix" and not re.fullmatch(r"/?|/[0-9]+", parts.path, re.ASCII):
        # The client would use database 0.
        raise ValueError("must end with the number of a database, as in redis://host:6379/0")
    if parts.query or parts.fragment:
        # The client accepts each option of its constructor. Our code sets time limits and other options.
        raise ValueError("must have no options after the database")
    return value


RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
"""Pass it only to the client, never to a log, a metric or an error: it may have a password."""
LOCAL_REDIS = SecretStr("redis://127.0.0.1:6379/0")


def _mongo_url(value: SecretStr) -> SecretStr:
    # An error message must not contain the value, because it may have a password.
    if not value.get_secret_value().startswith(("mongodb://", "mongodb+srv://")):
        raise ValueError("must begin with mongodb:// or mongodb+srv://")
    return value


MongoUrl = Annotated[SecretStr, AfterValidator(_mongo_url)]
"""It may have a password, like a RedisUrl."""
LOCAL_MONGO = SecretStr("mongodb://127.0.0.1:27017/?replicaSet=rs0")


def _brokers(value: str) -> str:
    for broker in value.split(","):
        host, _, port = broker.strip().rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65_536:  # noqa: PLR2004 - the last port
            raise ValueError("must be host:port, or several of them separated by commas")
    return value


Brokers = Annotated[str, AfterValidator(_brokers)]
"""The brokers to connect to first: host:port of one or several brokers of a cluster."""


def _comma_separated(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = tuple(part.strip() for part in value.split(",") if part.strip())
    if not parts:
        raise ValueError("has no entries between its commas")
    return parts


CommaSeparated = BeforeValidator(_comma_separated)
"""Splits text at its commas into a tuple. Spaces around the parts are removed."""


def _networks(value: object) -> object:
    if not isinstance(value, str):
        return value
    texts = [part.strip() for part in value.split(",") if part.strip()]
    try:
        return tuple(ip_network(text, strict=False) for text in texts)
    except ValueError:
        raise ValueError("must be networks separated by commas, such as 10.0.0.0/8,::1/128") from None


Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_networks)]
"""Splits text at its commas into networks (CIDR). Spaces around the networks are removed."""


def _tiles_url(value: str) -> str:
    if not value:
        return value
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("is not a valid URL: its host or port is malformed") from None
    if parts.scheme != "https" or not re.fullmatch(r"[a-z0-9.-]+", host, re.ASCII) or parts.username is not None:
        # The host becomes part of the Content-Security-Policy, so it must have no placeholder and no other character.
        raise ValueError("must begin with https:// and a host, without a user name or a placeholder in the host")
    if port == 0 or sorted(re.findall(r"{[^}]*}", value)) != ["{x}", "{y}", "{z}"]:
        raise ValueError("must contain {z}, {x} and {y} once each and no other placeholder, as in /{z}/{x}/{y}.png")
    return value


TilesUrl = Annotated[str, AfterValidator(_tiles_url)]
"""The address of raster tiles, with the placeholders {z}, {x} and {y}. Empty: no tiles."""


def tiles_host(url: str) -> str:
    """Return the source of raster tiles for the directive img-src: https://host or https://host:port.

    The URL is one that `MapSettings` accepts. Return an empty string if it is empty.
    """
    parts = urlsplit(url)
    if not parts.hostname:
        return ""
    return f"https://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def is_loopback(host: str) -> bool:
    """Return whether a host name or address, without a port, is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_assets_url(url: str) -> str:
    if re.fullmatch(r"(https?://[^/\s;,'\"]+)?", url) is None:
        raise ValueError(f"{url!r} is not an origin. Write it without a path, like https://www1.example.com")
    return url


AssetsUrl = Annotated[str, AfterValidator(_check_assets_url)]


def _service_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError("is not a valid URL: its host or port is malformed") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be http://host:port or https://host")
    if parts.query or parts.fragment or parts.username is not None:
        raise ValueError("takes a host, a port and a path, nothing else")
    return value.rstrip("/")


ServiceUrl = Annotated[str, AfterValidator(_service_url)]
"""The address of one of our own services, without a slash at its end."""

LEAST_PASSWORD_CHARACTERS = 12


def _password(value: SecretStr) -> SecretStr:
    password = value.get_secret_value()
    if len(password) < LEAST_PASSWORD_CHARACTERS and password != PLACEHOLDER:  # that has an error of its own
        raise ValueError(
            f"has fewer than {LEAST_PASSWORD_CHARACTERS} characters: choose a longer one, or remove it from .env and "
            "run `python3 tasks.py dotenv.generate --yes`"
        )
    return value


Password = Annotated[SecretStr, AfterValidator(_password)]
"""A password of at least 12 characters. If it is random, nobody guesses it in a lifetime, even from many addresses."""


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError):  # malformed, a directory, unknown (a KeyError)
        raise ValueError("must be a time zone such as Europe/Berlin") from None
    return value


TimeZone = Annotated[str, AfterValidator(_time_zone)]
"""The name of a time zone."""
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(ge=0.01, le=86_400)]


class SettingsError(Exception):
    """Variables of the environment are missing or invalid. The message has one line for each of them."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("\n".join(["these settings are missing or wrong:", *(f"  {error}" for error in errors)]))
        self.errors = tuple(errors)
        """One `VARIABLE: error` for each invalid variable, sorted."""


class EnvSettings(BaseModel):
    """Base of every Settings class. Each field's alias is the name of its environment variable."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True, use_attribute_docstrings=True)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Return the settings from environment variables. An empty variable counts as not set.

        Raises SettingsError with one line for each missing, malformed or out-of-range variable.
        """
        given = {name: environ[name] for name in cls.variables() if environ.get(name, "").strip()}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            errors = [f"{_variable(details['loc'])}: {_reason(details)}" for details in error.errors()]
            raise SettingsError(sorted(errors)) from None

    @classmethod
    def variables(cls) -> list[str]:
        """Return the environment variables that this class reads, in the order of its fields."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @model_validator(mode="after")
    def _refuse_placeholders(self) -> Self:
        fields = type(self).model_fields
        left_over = [
            field.alias or name
            for name, field in fields.items()
            if isinstance(value := getattr(self, name), SecretStr) and value.get_secret_value() == PLACEHOLDER
        ]
        if left_over:
            raise ValueError(f"{', '.join(left_over)} still {PLACEHOLDER}: run `python3 tasks.py dotenv.generate`")
        return self


class LogSettings(EnvSettings):
    """Settings of the log of a process."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", alias="LOG_LEVEL")
    """The least severe records to log: DEBUG, INFO, WARNING or ERROR."""
    log_format: Literal["auto", "json", "text"] = Field("auto", alias="LOG_FORMAT")
    """json: one JSON line per record. text: readable lines. auto: text on a terminal, JSON elsewhere."""


class ProcessSettings(LogSettings):
    """Settings of every process that runs until it is stopped: its log and its internal port."""

    internal_host: str = Field("127.0.0.1", alias="INTERNAL_HOST")
    """The address that each process listens on for health, readiness and metrics. Containers set 0.0.0.0. Visitors must
    not reach it."""
    internal_port: Port = Field(9464, alias="INTERNAL_PORT")
    """The port for health, readiness and metrics. On one machine without containers each process needs its own."""


class EventSizeSettings(EnvSettings):
    """The size limit of an event."""

    max_event_bytes: int = Field(262_144, ge=1024, le=16_777_216, alias="MAX_EVENT_BYTES")
    """The largest event in bytes. One limit for tracker, producer and topic. A topic keeps the limit with
    which it was created."""


class QueueRedisSettings(EnvSettings):
    """Settings of the connection of tracker and kafkastore to the Redis of the queue."""

    redis_url: RedisUrl = Field(LOCAL_REDIS, alias="REDIS_URL")
    """The Redis of the queue: one for each tracker, or a shared one. It may have a password:
    redis://:password@host:6379/0."""


class CountersRedisSettings(EnvSettings):
    """Settings of the connection of consumers and kafidx to the Redis of the counters."""

    counters_redis_url: RedisUrl = Field(LOCAL_REDIS, alias="COUNTERS_REDIS_URL")
    """The Redis of the counters: one for all consumers and kafidx. It may have a password, like REDIS_URL."""


class ScheduleSettings(EnvSettings):
    """Settings of the periodic jobs of a service."""

    schedule_zone: TimeZone = Field("Europe/Berlin", alias="SCHEDULE_ZONE")
    """The time zone of the planned times of periodic jobs. In a night with a change of the clock, a daily job runs
    once."""
    schedule_check_s: Seconds = Field(10.0, alias="SCHEDULE_CHECK_S")
    """Seconds between two checks of a periodic job. Beat also sends one at a planned time and at the request of an
    operator, so that the run begins within a second. Only if that one is lost, it begins up to this time later. Tests
    set it below one second."""
    schedule_late_s: Seconds = Field(3600.0, alias="SCHEDULE_LATE_S")
    """Seconds that a run may begin after its planned time, because no beat or no worker ran. Later, it is recorded as
    missed. Of several such times only the newest one runs."""

    @property
    def zone(self) -> ZoneInfo:
        """The time zone."""
        return ZoneInfo(self.schedule_zone)


class ProxySettings(EnvSettings):
    """The proxies that a server trusts."""

    trusted_proxies: Networks = Field((), alias="TRUSTED_PROXIES")
    """Networks (CIDR, separated by commas) of your load balancers. All servers trust the client address that these
    send in headers. Empty: none. The clients of a proxy that is not listed count as one address."""


class OutgoingSettings(EnvSettings):
    """Settings of every service that sends requests to the internet."""

    allowed_networks: Networks = Field((), alias="OUTGOING_ALLOWED_NETWORKS")
    """Networks of your own (CIDR, separated by commas) that callbacks, feeds and requests to providers may reach.
    Empty: public addresses only."""


class ChatProviderSettings(EnvSettings):
    """Settings of every service that knows the chat provider."""

    sendbird_app_id: str = Field("", pattern=r"^[A-Za-z0-9-]{0,64}$", alias="SENDBIRD_APP_ID")
    """The app at the chat provider. Empty: its webhooks get 404, and the chatbot is off."""
    sendbird_token: SecretStr = Field(SecretStr(""), alias="SENDBIRD_API_TOKEN")
    """The API token of the app, which signs its webhooks, and with which the chatbot sends. Required with
    SENDBIRD_APP_ID."""

    @property
    def sendbird_error(self) -> str:
        """What is missing, else empty."""
        if self.sendbird_app_id and not self.sendbird_token.get_secret_value():
            return "SENDBIRD_API_TOKEN is not set: it is required with SENDBIRD_APP_ID"
        return ""


class PageSettings(EnvSettings):
    """Settings of every service with pages."""

    assets_url: AssetsUrl = Field("", alias="ASSETS_URL")
    """The origin of a host that serves the static files of all pages, such as https://www1.example.com: a cache that
    fetches them from here. Empty: pages load them from their own host."""


class MapSettings(EnvSettings):
    """Settings of the maps in pages."""

    map_tiles_url: TilesUrl = Field("", alias="MAP_TILES_URL")
    """The address of raster tiles, such as https://tiles.example.org/{z}/{x}/{y}.png. Empty: maps are drawn on paper,
    and no request leaves the site."""
    map_tiles_attribution: str = Field("", max_length=200, alias="MAP_TILES_ATTRIBUTION")
    """The attribution that the source of the tiles requires, as plain text. Required with MAP_TILES_URL."""

    @model_validator(mode="after")
    def _tiles_have_attribution(self) -> Self:
        if self.map_tiles_url and not self.map_tiles_attribution:
            raise ValueError("MAP_TILES_ATTRIBUTION is not set: the source of MAP_TILES_URL requires an attribution")
        return self


class KafkaSettings(EventSizeSettings):
    """Settings of the connection to Kafka, for each process that writes to it or reads from it."""

    bootstrap_servers: Brokers = Field("127.0.0.1:9092", alias="KAFKA_BOOTSTRAP_SERVERS")
    """The Kafka brokers to connect to first: host:port, separated by commas."""
    idempotence: bool = Field(default=True, alias="KAFKA_IDEMPOTENCE")
    """Set to off only for a broker that rejects idempotent producers (Tansu). Then a retry may write a record twice."""


def _variable(location: tuple[int | str, ...]) -> str:
    return str(location[0]) if location else "settings"


def _reason(details: Any) -> str:
    return "is not set" if details["type"] == "missing" else str(details["msg"]).removeprefix("Value error, ")
