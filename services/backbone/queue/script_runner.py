"""ScriptRunner: runs one script over and over, with as little between it and Redis as can be."""

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

_MOST_KEPT: Final = 2  # new pushes and those of a spool run side by side


class ScriptRunner:
    """Runs a script on connections that the client has opened.

    A command through the client costs 150 us of Python, this one 50, and every push of a tracker pays it. Left out are
    a task and two timers for the time limit, packing argument by argument, streams, and the pool's books. What concerns
    the connection itself (address, password, TLS, database) is the client's, and what it has opened closes with it.
    """

    def __init__(self, redis: Redis, script: str) -> None:
        """Use `redis`, which must not decode responses; its socket timeout bounds connecting, and each run."""
        self._redis = redis
        self._script = script
        self._sha = hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
        self._timeout_s: float | None = redis.connection_pool.connection_kwargs.get("socket_timeout")
        self._free: list[_Connection] = []

    async def run(self, keys: Sequence[str], args: Sequence[bytes | int], *, timeout_s: float | None = None) -> Any:
        """Run the script once and return its answer. Raises RedisError; the script may have run all the same.

        Each step may take `timeout_s`, or the client's limit where that is shorter: connecting, where it must, and
        the answer.
        """
        limits = [limit for limit in (timeout_s, self._timeout_s) if limit is not None]
        limit_s = min(limits, default=None)
        command = hiredis.pack_command(("EVALSHA", self._sha, len(keys), *keys, *args))  # type: ignore[arg-type]  # its stub knows tuples of one
        try:
            return await self._ask(command, limit_s)
        except NoScriptError:
            # A server that is new, or was restarted. Nothing has run.
            try:
                async with asyncio.timeout(limit_s):
                    await self._redis.script_load(self._script)
            except TimeoutError as error:
                raise _no_response(limit_s) from error
            return await self._ask(command, limit_s)

    async def _ask(self, command: bytes, limit_s: float | None) -> Any:
        line = await self._take(limit_s)
        try:
            response = await line.ask(command, limit_s)
        except BaseException:
            # Cut off in the middle, by a cancellation as well: what comes on it next is the answer to this. And what
            # was not sent yet is not to reach a Redis that wakes up.
            line.cut()
            await self._discard(line)
            raise
        if len(self._free) < _MOST_KEPT:
            self._free.append(line)
        else:
            await self._discard(line)
        if isinstance(response, hiredis.ReplyError):
            text = str(response)
            raise NoScriptError(text) if text.startswith("NOSCRIPT") else ResponseError(text)
        return response

    async def _take(self, limit_s: float | None) -> "_Connection":
        while self._free:
            line = self._free.pop()
            if line.is_open:
                return line
            await self._discard(line)  # the server has closed it meanwhile
        try:
            async with asyncio.timeout(limit_s):
                connection = await self._redis.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        except TimeoutError as error:
            raise RedisTimeoutError(f"no connection within {limit_s} s") from error
        return _Connection(connection)

    async def _discard(self, line: "_Connection") -> None:
        await line.connection.disconnect(nowait=True)
        await self._redis.connection_pool.release(line.connection)


class _Connection(asyncio.Protocol):
    """One connection that the client has opened and set up, its transport taken over; for one question at a time."""

    def __init__(self, connection: AbstractConnection) -> None:
        self.connection = connection
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._waiting: asyncio.Future[Any] | None = None
        self._transport = cast("asyncio.Transport", connection._writer.transport)  # type: ignore[union-attr]  # noqa: SLF001 - the client has no public way to it
        self._streams = self._transport.get_protocol()
        self._transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """Whether a question can be asked, as far as is known here."""
        return not self._transport.is_closing()

    def cut(self) -> None:
        """Close it at once; what was not sent is not sent any more."""
        self._transport.abort()

    async def ask(self, command: bytes, timeout_s: float | None) -> Any:
        """Send a packed command and return what Redis answers. Raises RedisError when it does not."""
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
        """Take an answer, or a part of it. What a server says of its own accord (RESP3) is passed over."""
        self._reader.feed(data)
        try:
            while (response := self._reader.gets()) is not False:
                if not isinstance(response, hiredis.PushNotification):
                    self._take(response)
        except hiredis.ProtocolError as error:
            self._fail(RedisConnectionError(f"not an answer: {error}"))
            self.cut()

    def _take(self, response: Any) -> None:
        if self._waiting is None or self._waiting.done():
            self.cut()  # nobody has asked: from here on each question would get the answer to another one
        else:
            self._waiting.set_result(response)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits, and the client, whose streams wait for it when they close."""
        self._fail(RedisConnectionError(f"connection lost: {exc or 'closed by the server'}"))
        self._streams.connection_lost(exc)

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)


def _no_response(timeout_s: float | None) -> RedisTimeoutError:
    return RedisTimeoutError(f"no answer within {timeout_s} s")
