"""ScriptRunner: low-overhead EVALSHA of one script, on connections borrowed from redis-py."""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any, Final, cast

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

_MAX_IDLE: Final = 2  # new pushes and pushes from a spool run side by side


class ScriptRunner:
    """Runs a script on connections that redis-py has opened.

    A command through redis-py costs 150 us of Python, this one 50, and every push of a tracker pays for it.
    ScriptRunner does without a task and two timers for the time limit, without packing single arguments, without
    streams, and without the bookkeeping of the pool. redis-py still opens the connections (address, password, TLS,
    database) and closes them.
    """

    def __init__(self, redis: Redis, script: str) -> None:
        """Use `redis`, which must not decode responses; its socket timeout limits connecting and each run."""
        self._redis = redis
        self._script = script
        self._sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        self._timeout_s: float | None = redis.connection_pool.connection_kwargs.get("socket_timeout")
        self._free: list[_Connection] = []

    async def run(self, keys: Sequence[str], args: Sequence[bytes | int], *, timeout_s: float | None = None) -> Any:
        """Run the script once and return its response. Raises RedisError; the script may still have run.

        Each step, connecting and waiting for the response, may take `timeout_s`, or the timeout of the client if that
        is shorter.
        """
        limits = [limit for limit in (timeout_s, self._timeout_s) if limit is not None]
        limit_s = min(limits, default=None)
        command = hiredis.pack_command(("EVALSHA", self._sha, len(keys), *keys, *args))  # type: ignore[arg-type]  # its stub knows tuples of one
        try:
            return await self._run_once(command, limit_s)
        except NoScriptError:
            # The server is new or was restarted. The script has not run.
            try:
                async with asyncio.timeout(limit_s):
                    await self._redis.script_load(self._script)
            except TimeoutError as error:
                raise _no_response(limit_s) from error
            return await self._run_once(command, limit_s)

    async def _run_once(self, command: bytes, limit_s: float | None) -> Any:
        connection = await self._take(limit_s)
        try:
            response = await connection.send(command, limit_s)
        except BaseException:
            # An error or a cancellation. The next response on this connection would belong to this command. And bytes
            # that are still unsent must not reach a Redis that resumes later.
            connection.abort()
            await self._discard(connection)
            raise
        if len(self._free) < _MAX_IDLE:
            self._free.append(connection)
        else:
            await self._discard(connection)
        if isinstance(response, hiredis.ReplyError):
            text = str(response)
            raise NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text)
        return response

    async def _take(self, limit_s: float | None) -> "_Connection":
        while self._free:
            connection = self._free.pop()
            if connection.is_open:
                return connection
            await self._discard(connection)  # the server has closed it
        try:
            async with asyncio.timeout(limit_s):
                borrowed = await self._redis.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        except TimeoutError as error:
            raise RedisTimeoutError(f"no connection within {limit_s} s") from error
        return _Connection(borrowed)

    async def _discard(self, connection: "_Connection") -> None:
        await connection.borrowed.disconnect(nowait=True)
        await self._redis.connection_pool.release(connection.borrowed)


class _Connection(asyncio.Protocol):
    """A connection of redis-py with its transport taken over. Runs one command at a time."""

    def __init__(self, connection: AbstractConnection) -> None:
        self.borrowed = connection
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._waiting: asyncio.Future[Any] | None = None
        self._transport = cast("asyncio.Transport", connection._writer.transport)  # type: ignore[union-attr]  # noqa: SLF001 - redis-py has no public access
        self._streams = self._transport.get_protocol()
        self._transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """Whether the connection looks usable. The server may have closed it unnoticed."""
        return not self._transport.is_closing()

    def abort(self) -> None:
        """Close the connection at once, and discard unsent bytes."""
        self._transport.abort()

    async def send(self, command: bytes, timeout_s: float | None) -> Any:
        """Send a packed command and return the response. Raises RedisError without one."""
        waiting = self._waiting = self._loop.create_future()
        timer = None if timeout_s is None else self._loop.call_later(timeout_s, self._fail, _no_response(timeout_s))
        try:
            self._transport.write(command)
            return await waiting
        finally:
            self._waiting = None
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Receive a response or a part of one. Ignore push notifications of the server (RESP3)."""
        self._reader.feed(data)
        try:
            while (response := self._reader.gets()) is not False:
                if not isinstance(response, hiredis.PushNotification):
                    self._take(response)
        except hiredis.ProtocolError as error:
            self._fail(RedisConnectionError(f"invalid response: {error}"))
            self.abort()

    def _take(self, response: Any) -> None:
        if self._waiting is None or self._waiting.done():
            self.abort()  # unexpected: every later command would get the response to another one
        else:
            self._waiting.set_result(response)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the running command, and notify the streams of redis-py, which wait for this when they close."""
        self._fail(RedisConnectionError(f"connection lost: {exc or 'closed by the server'}"))
        self._streams.connection_lost(exc)

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)


def _no_response(timeout_s: float | None) -> RedisTimeoutError:
    return RedisTimeoutError(f"no response within {timeout_s} s")
