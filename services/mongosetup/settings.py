"""Settings of mongosetup."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from services.backbone.settings import CommaSeparated, LogSettings, Seconds


def _members(value: tuple[str, ...]) -> tuple[str, ...]:
    if not all(re.fullmatch(r"[^:/@,\s]+:[0-9]{1,5}", member, re.ASCII) for member in value):
        raise ValueError("must be host:port, or several of them separated by commas")
    if len(set(value)) < len(value):
        raise ValueError("contains a member twice")
    return value


Members = Annotated[tuple[str, ...], CommaSeparated, AfterValidator(_members)]


class Settings(LogSettings):
    """Settings of the job that creates the replica set."""

    members: Members = Field(("127.0.0.1:27017",), alias="MONGOSETUP_MEMBERS")
    """The members of the replica set, host:port, separated by commas. Clients connect to these addresses, and the
    members to each other. One, or an odd number: more than half of them must run."""
    wait_s: Seconds = Field(120.0, alias="MONGOSETUP_WAIT_S")
    """Seconds that the job waits for the members, and for a primary."""
