"""The variables that the operators' tasks read, with the rules of the services.

Each invalid variable is reported on one line.
"""

from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import Field

from deploy.errors import OperatorError
from services.backbone.settings import (
    LOCAL_REDIS,
    Brokers,
    CommaSeparated,
    EnvSettings,
    Port,
    RedisUrl,
    SettingsError,
)

_Settings = TypeVar("_Settings", bound=EnvSettings)


class SystemVariables(EnvSettings):
    """The addresses of the parts of a running system."""

    tracker_port: Port = Field(5222, alias="TRACKER_PORT")
    redis_url: RedisUrl = Field(LOCAL_REDIS, alias="REDIS_URL")
    redis_urls: Annotated[tuple[RedisUrl, ...], CommaSeparated] = Field((), alias="KAFKASTORE_REDIS_URLS")
    counters_url: RedisUrl = Field(LOCAL_REDIS, alias="COUNTERS_REDIS_URL")
    actions_url: RedisUrl = Field(LOCAL_REDIS, alias="ACTIONS_REDIS_URL")
    bootstrap_servers: Brokers = Field("127.0.0.1:9092", alias="KAFKA_BOOTSTRAP_SERVERS")


def read(settings: type[_Settings], environ: Mapping[str, str]) -> _Settings:
    """Read settings. Raises OperatorError with a line for each invalid variable. No line contains a value."""
    try:
        return settings.from_env(environ)
    except SettingsError as error:
        lines = (f"{fault}. Correct it in the environment or in .env." for fault in error.errors)
        raise OperatorError("\n".join(lines)) from None
