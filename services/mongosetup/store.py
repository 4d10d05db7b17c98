"""The members of the replica set: their state, and the command that creates the set."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure, PyMongoError

from services.mongosetup.core import REPLICA_SET, MemberState

_TIMEOUT_MS: Final = 2_000
_ALREADY_INITIALIZED: Final = 23


async def states_of(addresses: Sequence[str]) -> list[MemberState]:
    """Return the state of each member. A member that does not respond within 2 s has an error."""
    return list(await asyncio.gather(*map(_state_of, addresses)))


async def initiate(addresses: Sequence[str]) -> None:
    """Create the replica set with these members. If another process was first, do nothing. Raises PyMongoError."""
    members = [{"_id": number, "host": address} for number, address in enumerate(addresses)]
    try:
        await _command(addresses[0], "replSetInitiate", {"_id": REPLICA_SET, "members": members})
    except OperationFailure as error:
        if error.code != _ALREADY_INITIALIZED:
            raise


async def _state_of(address: str) -> MemberState:
    try:
        hello = await _command(address, "hello", 1)
    except PyMongoError as error:
        return MemberState(address=address, error=f"{type(error).__name__}: {error}"[:200])
    return MemberState(
        address=address,
        replica_set=hello.get("setName", ""),
        configured=frozenset(hello.get("hosts", ())) | frozenset(hello.get("passives", ())),
        # A mongod without --replSet is writable too, but it has no set.
        is_primary=bool(hello.get("isWritablePrimary")) and "setName" in hello,
    )


async def _command(address: str, name: str, value: object) -> Mapping[str, Any]:
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        f"mongodb://{address}",
        directConnection=True,
        connectTimeoutMS=_TIMEOUT_MS,
        serverSelectionTimeoutMS=_TIMEOUT_MS,
        appname="push-mongosetup",
    )
    async with client:
        return await client.admin.command(name, value)
