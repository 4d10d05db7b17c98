"""Settings of the consumers."""

from collections.abc import Mapping
from typing import Final, Self

from pydantic import Field, SecretStr, model_validator

from services.backbone.settings import (
    LOCAL_REDIS,
    ChatProviderSettings,
    CountersRedisSettings,
    EnvSettings,
    KafkaSettings,
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

_SILENCE_MARGIN_S: Final = 20.0
"""A killed process of a worker is replaced, and Redis and the task take their time."""


class ActionSettings(EnvSettings):
    """Settings of the action consumers and their workers."""

    actions_redis_url: RedisUrl = Field(LOCAL_REDIS, alias="ACTIONS_REDIS_URL")
    """The Redis of the actions: Celery's queues, what is known of each action, and the dead list. Its policy must be
    noeviction, and it needs an append-only file. It may have a password, like REDIS_URL."""
    storage_url: ServiceUrl = Field("http://127.0.0.1:5011", alias="ACTIONS_STORAGE_URL")
    """The storage that the actions call."""
    storage_user: str = Field("storage", alias="STORAGE_USER")
    """The user name of services and operators. They may do all."""
    storage_password: SecretStr | None = Field(None, alias="STORAGE_PASSWORD")
    """The password of services and operators, at least 12 characters. Empty: no password; storage then starts on
    loopback only, and everybody there may do all."""
    in_flight: int = Field(500, ge=1, le=10_000, alias="ACTIONS_IN_FLIGHT")
    """The most actions of a consumer that are sent and not finished. While all are in use, the consumer has at most one
    more poll (CONSUMERS_POLL_EVENTS) in memory. The other events stay in Kafka, so an outage is visible as lag."""
    attempts: int = Field(5, ge=1, le=100, alias="ACTIONS_ATTEMPTS")
    """How often an action may fail before it goes to the dead list. An outage of what it depends on is no failure."""
    backoff_s: Seconds = Field(1.0, alias="ACTIONS_BACKOFF_S")
    """Seconds before the second attempt. Each further pause is twice as long, at most one minute."""
    time_limit_s: int = Field(30, ge=2, le=3600, alias="ACTIONS_TIME_LIMIT_S")
    """Seconds after which the process of an action is killed. It must end later than ACTIONS_SOFT_TIME_LIMIT_S."""
    soft_time_limit_s: int = Field(25, ge=1, le=3599, alias="ACTIONS_SOFT_TIME_LIMIT_S")
    """Seconds after which an action is interrupted. The process goes on with another one."""
    visibility_timeout_s: int = Field(120, ge=4, alias="ACTIONS_VISIBILITY_TIMEOUT_S")
    """Seconds after which Celery gives a task of a dead worker to another one. At least twice ACTIONS_TIME_LIMIT_S,
    because a task that still runs then runs twice: a task of 16 s did so under 6 s."""
    worker_processes: int = Field(4, ge=1, le=64, alias="ACTIONS_WORKER_PROCESSES")
    """The number of processes of a worker. Each runs one action at a time, and mostly waits for storage. A process
    takes about 60 MB."""
    ping_s: Seconds = Field(10.0, alias="ACTIONS_PING_S")
    """Seconds between two pings of a worker: tasks of its own, which prove that it takes tasks from Redis. A worker
    counts as silent, and is restarted, when none has arrived for this time and twice ACTIONS_TIME_LIMIT_S and 20 s."""

    dead_days: int = Field(30, ge=1, le=3650, alias="ACTIONS_DEAD_DAYS")
    """Days that the dead list keeps an action, or an invalid event. They contain location fixes and device ids, which
    are personal data. A daily job deletes older ones."""
    sends_events: bool = Field(default=False, alias="ACTIONS_SEND_EVENTS")
    """Whether workers send Celery's events, for Flower (docker-compose/flower.yml). These are three messages for each
    action, with its arguments. Workers take no commands in any case."""

    @property
    def silence_s(self) -> float:
        """Seconds without a received ping after which a worker counts as silent.

        Celery's queues take turns, so a ping can wait for two actions that run until their time limit.
        """
        return self.ping_s + 2 * self.time_limit_s + _SILENCE_MARGIN_S

    @model_validator(mode="after")
    def _limits_are_in_order(self) -> Self:
        if self.soft_time_limit_s >= self.time_limit_s:
            raise ValueError("ACTIONS_SOFT_TIME_LIMIT_S must be less than ACTIONS_TIME_LIMIT_S")
        if self.visibility_timeout_s < 2 * self.time_limit_s:
            raise ValueError("ACTIONS_VISIBILITY_TIMEOUT_S must be at least twice ACTIONS_TIME_LIMIT_S")
        return self


class ActionProviderSettings(ChatProviderSettings, OutgoingSettings):
    """Settings of the actions that call providers on the internet."""

    sendbird_url: ServiceUrl | None = Field(None, alias="SENDBIRD_URL")
    """The API of the chat provider. Empty: https://api-SENDBIRD_APP_ID.sendbird.com/v3."""
    chat_messages_per_s: int = Field(5, ge=1, le=1_000, alias="CHATBOT_MESSAGES_PER_S")
    """The most replies a second of all workers. 5 is the limit of the provider's smallest plan for POST requests."""
    geonames_user: str = Field("", pattern=r"^[A-Za-z0-9._@-]{0,64}$", alias="GEONAMES_USER")
    """The name of an account at GeoNames. It needs no password. Empty: no offers are made of places."""
    geonames_url: ServiceUrl = Field("https://secure.geonames.org", alias="GEONAMES_URL")
    """The web services of GeoNames."""
    geonames_credits_per_h: int = Field(400, ge=2, le=1_000_000, alias="GEONAMES_CREDITS_PER_H")
    """The most credits an hour of all workers: a search takes 1 or 2. A free account has 10,000 a day and 1,000 an
    hour, so the default never exceeds them."""
    oldest_s: float = Field(3600.0, ge=1.0, le=604_800.0, alias="ACTIONS_OLDEST_S")
    """Seconds after which a chat message gets no reply, and a search no offers of places, if their consumer takes them
    so late: after its first start, or when it was off. Nobody waits for them any more. Events that the consumer has
    taken do not become too old while a provider is away."""

    @property
    def off(self) -> Mapping[str, str]:
        """The action consumers that are off, and why.

        The names that decide are no secrets, so each process can know them: only the workers have the token.
        """
        needed = {
            "chatbot": ("SENDBIRD_APP_ID", self.sendbird_app_id),
            "geonames": ("GEONAMES_USER", self.geonames_user),
        }
        return {handler: f"{variable} is not set" for handler, (variable, value) in needed.items() if not value}


class AdminSettings(ProxySettings, PageSettings):
    """Settings of the pages for operators."""

    host: str = Field("127.0.0.1", alias="CONSUMERS_HOST")
    """The address that the pages of the actions listen on. Containers set 0.0.0.0. Any address but loopback needs a
    password."""
    port: Port = Field(5051, alias="CONSUMERS_PORT")
    """The port of the pages of the actions."""
    user: str = Field("consumers", alias="CONSUMERS_USER")
    """The user name of HTTP Basic."""
    password: Password | None = Field(None, alias="CONSUMERS_PASSWORD")
    """The password of HTTP Basic, at least 12 characters. Empty: no password; the pages are then on loopback only."""

    @model_validator(mode="after")
    def _user_is_valid(self) -> Self:
        if ":" in self.user:
            raise ValueError("CONSUMERS_USER must not contain a colon (RFC 7617)")
        return self


class Settings(
    ProcessSettings,
    CountersRedisSettings,
    KafkaSettings,
    ActionSettings,
    ActionProviderSettings,
    ScheduleSettings,
    AdminSettings,
):
    """Settings of one consumer process."""

    max_labels: int = Field(200_000, ge=10_000, alias="CONSUMERS_MAX_LABELS")
    """The most labels of one counter. Events with a new label beyond it are counted as (other). A label takes about
    150 bytes of Redis. The minimum leaves room for the histograms' own labels."""
    id_window_s: float = Field(86_400.0, ge=1.0, le=2_592_000.0, alias="CONSUMERS_ID_WINDOW_S")
    """Seconds that a counter keeps the id of an event to drop duplicates. It keeps an id for one to two times this
    value."""
    id_window_events: int = Field(1_000_000, ge=10_000, le=100_000_000, alias="CONSUMERS_ID_WINDOW_EVENTS")
    """The limit of ids that a counter keeps, even when CONSUMERS_ID_WINDOW_S covers more. It keeps one to two times
    this number. An id takes 57 bytes of Redis, so the default takes at most 113 MB per counter. It reaches back 17 to
    33 minutes at 1,000 events/s, 2.8 to 5.6 hours at 100."""
    poll_events: int = Field(5000, ge=1, le=100_000, alias="CONSUMERS_POLL_EVENTS")
    """The most events of one batch. A batch is counted and written in one step."""
    poll_wait_s: Seconds = Field(1.0, le=10.0, alias="CONSUMERS_POLL_WAIT_S")
    """Seconds that a poll waits for the first event. It does not wait for more."""
    lag_interval_s: Seconds = Field(2.0, alias="CONSUMERS_LAG_INTERVAL_S")
    """Seconds between measurements of lag. Each measurement also commits the positions to Kafka, only for lag tools."""
    give_up_s: Seconds = Field(300.0, alias="CONSUMERS_GIVE_UP_S")
    """Seconds that Redis or Kafka may fail before the process exits with 1, to be restarted."""


class WorkerSettings(Settings):
    """Settings of a worker, the only process with the secrets of storage and of the chat provider."""

    @model_validator(mode="after")
    def _providers_are_complete(self) -> Self:
        if self.sendbird_error:
            raise ValueError(self.sendbird_error)
        return self


class PagesProcessSettings(Settings):
    """Settings of the process of the pages, the only one with their password."""

    @model_validator(mode="after")
    def _open_to_this_machine_only(self) -> Self:
        if self.password is None and not is_loopback(self.host):
            raise ValueError(
                "CONSUMERS_PASSWORD is not set: then CONSUMERS_HOST must be a loopback address (local use)"
            )
        return self
