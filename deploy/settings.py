"""Variables that the compose files and the operators' tasks read, beside those of the services.

Declared here so that `.env.template` explains them and `dotenv.generate` makes their secrets.
"""

from pydantic import Field, SecretStr

from services.backbone.settings import EnvSettings


class ContainerSettings(EnvSettings):
    """The variables that docker compose reads from .env for itself."""

    push_version: str = Field("dev", alias="PUSH_VERSION")
    """The tag of the images that are built, pushed and run."""
    image_registry: str = Field("", alias="IMAGE_REGISTRY")
    """The registry for docker.images.push: host, or host/folder. Empty: the task requires --registry."""
    geoip_directory: str = Field("", alias="GEOIP_DIRECTORY")
    """The directory with the files of GEOIP_DATABASE on this machine. The kafkastore container mounts it at the same
    path."""
    grafana_port: int = Field(3000, alias="GRAFANA_PORT")
    """The port of Grafana on this machine's loopback (profile observability)."""
    grafana_password: SecretStr | None = Field(None, alias="GRAFANA_PASSWORD")
    """The password of Grafana's user admin."""
    flower_port: int = Field(5555, alias="FLOWER_PORT")
    """The port of Flower on this machine's loopback (profile flower)."""
    flower_password: SecretStr | None = Field(None, alias="FLOWER_PASSWORD")
    """The password of Flower's user admin."""
    visitors_rate: int = Field(50, alias="VISITORS_RATE")
    """Requests a second of the synthetic visitors (profile load)."""


class OperatorSettings(EnvSettings):
    """The variables that the operators' tasks read from .env for themselves."""

    maxmind_license_key: str = Field("", alias="MAXMIND_LICENSE_KEY")
    """A licence key of MaxMind. With it `python3 tasks.py geoip.fetch` downloads the current GeoLite2 City. Empty: it
    uses sources that need no key."""
    maxmind_account_id: str = Field("", alias="MAXMIND_ACCOUNT_ID")
    """The MaxMind account of the licence key. Empty: geoip.fetch uses the older address, which needs the key alone."""
