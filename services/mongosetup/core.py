"""The rule: what to do with the members of a replica set in their current state."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

REPLICA_SET: Final = "rs0"
"""The name of the replica set: in the arguments of each mongod, and in the URLs of its clients."""


@dataclass(frozen=True, kw_only=True)
class MemberState:
    """A member of the settings, as it responds itself."""

    address: str
    error: str = ""
    """The reason if it does not respond."""
    replica_set: str = ""
    """The name of the replica set that it belongs to. Empty: it has no configuration yet."""
    configured: frozenset[str] = frozenset()
    """The addresses of all members in its configuration."""
    is_primary: bool = False


@dataclass(frozen=True)
class Wait:
    """Look again later."""

    reason: str


@dataclass(frozen=True)
class Initiate:
    """No member has a configuration, and all respond: create the replica set."""


@dataclass(frozen=True)
class Ready:
    """The replica set has a primary."""

    differences: tuple[str, ...]
    """Its differences from the settings, as sentences."""


SetupStep = Wait | Initiate | Ready


def next_step(members: Sequence[MemberState]) -> SetupStep:
    """Return the next step for the members of the settings.

    A member with a configuration means that the replica set exists, also if others have lost their data: these get the
    configuration and the data from the first. So only members that all respond and are all empty are initiated.
    """
    existing = [member for member in members if member.replica_set]
    for member in existing:
        if member.replica_set != REPLICA_SET:
            return Wait(f"{member.address} belongs to the replica set {member.replica_set}, expected {REPLICA_SET}")
    silent = [f"{member.address} does not respond ({member.error})" for member in members if member.error]
    for member in existing:
        if member.is_primary:
            return Ready(_differences(member, members))
    if existing:
        return Wait("; ".join(["there is no primary", *silent]))
    return Wait("; ".join(silent)) if silent else Initiate()


def _differences(primary: MemberState, members: Sequence[MemberState]) -> tuple[str, ...]:
    wanted = {member.address for member in members}
    missing = (f"{address} is not a member" for address in sorted(wanted - primary.configured))
    others = (f"{address} is a member, but not in the settings" for address in sorted(primary.configured - wanted))
    return (*missing, *others)
