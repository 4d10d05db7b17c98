"""MongoDB: the one place where clients are created, and the creation of indexes at start."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import pymongo.lock
from bson.codec_options import TypeDecoder, TypeRegistry
from bson.int64 import Int64
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError
from pymongo.monitoring import CommandListener

from services.backbone.backoff import tried_until_stopped
from services.backbone.logs import get_logger

log = get_logger(__name__)

Database = AsyncDatabase[dict[str, Any]]
Documents = AsyncCollection[dict[str, Any]]

_CONNECT_TIMEOUT_MS: Final = 2_000
_SELECTION_TIMEOUT_MS: Final = 5_000
"""A failover of a replica set takes longer. The caller's retry covers it, and a request fails in time."""
_SOCKET_TIMEOUT_MS: Final = 30_000
_MAX_CONNECTIONS: Final = 50
_DUPLICATE_KEY: Final = 11_000
_PERMANENT: Final = frozenset({13, 18, 67, 85, 86})
"""Errors that only an operator can correct: not authorised, wrong password, an index that differs from the stored."""


class _PlainIntegers(TypeDecoder):
    """Decodes large integers to int. Its subclass Int64 has no JSON form in msgspec."""

    bson_type = Int64

    def transform_bson(self, value: int) -> int:
        return int(value)


async def _wait_for(awaitable: Awaitable[Any], timeout: float | None) -> Any:  # noqa: ASYNC109 - as in asyncio
    """Do what asyncio.wait_for does since Python 3.12: wait in the calling task."""
    async with asyncio.timeout(timeout):
        return await awaitable


if sys.version_info < (3, 12):
    # pymongo waits for a condition by wait_for. That of Python 3.11 waits in a second task. If the caller is cancelled
    # just after the time limit, it goes on without the lock of the condition and releases the lock of another task;
    # the second task then keeps the lock for ever. All later operations of the client fail or never end.
    vars(pymongo.lock)["wait_for"] = _wait_for


def connect(
    url: str, *, service: str, event_listeners: Sequence[CommandListener] = ()
) -> AsyncMongoClient[dict[str, Any]]:
    """Return a client with time limits. It connects at its first use. Close it with `close()`.

    Write concern and retryable writes keep their defaults: an acknowledged write survives the loss of a member.
    """
    return AsyncMongoClient(
        url,
        connectTimeoutMS=_CONNECT_TIMEOUT_MS,
        serverSelectionTimeoutMS=_SELECTION_TIMEOUT_MS,
        socketTimeoutMS=_SOCKET_TIMEOUT_MS,
        maxPoolSize=_MAX_CONNECTIONS,
        waitQueueTimeoutMS=_SELECTION_TIMEOUT_MS,
        appname=f"push-{service}",
        event_listeners=event_listeners,
        type_registry=TypeRegistry([_PlainIntegers()]),
    )


def describe(error: PyMongoError) -> str:
    """Return the class and the code of an error, for logs. The text of an error may have parts of documents."""
    code = error.code if isinstance(error, OperationFailure) else None
    return type(error).__name__ if code is None else f"{type(error).__name__} {code}"


async def create_when_available(create: Callable[[], Awaitable[None]], stop: asyncio.Event) -> bool:
    """Create indexes by `create`, and try again while the database is not available.

    Return False if `stop` is set. Raises OperationFailure if only an operator can correct the error.
    """
    return await tried_until_stopped(create, (PyMongoError,), stop, on_error=_report)


def _report(error: Exception) -> None:
    """Log a failure, or raise it if only an operator can correct it."""
    if not isinstance(error, OperationFailure):
        log.warning("database_not_available", error=f"{type(error).__name__}: {error}"[:200])
    elif error.has_error_label("RetryableWriteError") or error.code not in _PERMANENT:
        log.warning("indexes_failed", error=str(error)[:200])
    else:
        raise error


def duplicates_of(error: BulkWriteError) -> list[dict[str, Any]]:
    """Return the operations of a bulk write that failed because their keys exist: for an insert, its document.

    Raises the error if anything else failed. That includes the write concern: without it, the loss of a member could
    lose what was written.
    """
    failures: Sequence[dict[str, Any]] = error.details["writeErrors"]
    if error.details["writeConcernErrors"] or any(failure["code"] != _DUPLICATE_KEY for failure in failures):
        raise error
    return [failure["op"] for failure in failures]
