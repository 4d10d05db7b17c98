"""Channel: questions that the supervisor asks a worker, and the answers, over a pair of sockets that only they hold.

A line of JSON each. When one process ends, however that happens, the kernel tells the other by the end of the stream.
"""

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Self, TypeVar

import msgspec

_LONGEST_LINE: Final = 1_048_576
_UNASKED: Final = 0

_Content = TypeVar("_Content")

Answers = Mapping[str, Callable[[], Awaitable[Any]]]
"""What a worker can be asked, each with the function whose result is the answer."""


class Unanswered(Exception):  # noqa: N818 - what happened
    """The worker did not answer in time, or is gone."""


class HungUp(Unanswered):
    """The worker is gone, or about to go."""


class Question(msgspec.Struct, frozen=True):
    """What the supervisor sends."""

    number: int
    about: str


class Said(msgspec.Struct, frozen=True):
    """What a worker sends: the answer to the question of that number, or its last words."""

    number: int
    content: msgspec.Raw


class Asking:
    """The supervisor's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ended = False
        self._numbers = itertools.count(_UNASKED + 1)
        self._waiting: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self.last_words = ""
        """Why the worker can't run, when it said so."""

    @classmethod
    async def open(cls, end: socket.socket) -> Self:
        """Take over this process's end."""
        return cls(*await asyncio.open_unix_connection(sock=end, limit=_LONGEST_LINE))

    async def listen(self) -> None:
        """Take what the worker says until it is gone."""
        try:
            with contextlib.suppress(ConnectionError):
                while line := await self._reader.readline():
                    self._take(msgspec.json.decode(line, type=Said))
        finally:
            self._ended = True
            self._writer.close()
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(HungUp("it has ended"))

    def _take(self, said: Said) -> None:
        if said.number == _UNASKED:
            self.last_words = msgspec.json.decode(said.content, type=str)
        elif (waiting := self._waiting.get(said.number)) is not None and not waiting.done():
            waiting.set_result(said.content)

    async def ask(self, about: str, kind: type[_Content], *, limit_s: float) -> _Content:
        """Return the answer. Raises Unanswered when there is none within `limit_s`, and HungUp."""
        if self._ended:
            raise HungUp("it has ended")
        question = Question(next(self._numbers), about)
        answer: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        self._waiting[question.number] = answer
        try:
            self._writer.write(msgspec.json.encode(question) + b"\n")
            async with asyncio.timeout(limit_s):
                return msgspec.json.decode(await answer, type=kind)
        except TimeoutError:
            raise Unanswered(f"no answer within {limit_s:g} s") from None
        finally:
            del self._waiting[question.number]


class Answering:
    """A worker's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._answering: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, descriptor: int) -> Self:
        """Take over the end that the supervisor left open for this process; no child of its own gets it."""
        end = socket.socket(fileno=descriptor)
        end.set_inheritable(False)
        return cls(*await asyncio.open_unix_connection(sock=end))

    async def answer(self, answers: Answers) -> None:
        """Answer questions until the supervisor is gone."""
        with contextlib.suppress(ConnectionError):
            while line := await self._reader.readline():
                question = msgspec.json.decode(line, type=Question)
                # Each in a task of its own: one that asks Redis must not hold up the next.
                answering = asyncio.create_task(self._answer(question.number, answers[question.about]))
                self._answering.add(answering)
                answering.add_done_callback(self._answering.discard)

    async def _answer(self, number: int, find: Callable[[], Awaitable[Any]]) -> None:
        self._say(number, await find())

    def _say(self, number: int, content: Any) -> None:
        said = Said(number, msgspec.Raw(msgspec.json.encode(content)))
        self._writer.write(msgspec.json.encode(said) + b"\n")

    async def close(self, last_words: str = "") -> None:
        """Say why this process can't run, if there is a reason, and hang up."""
        if last_words:
            self._say(_UNASKED, last_words)
        self._writer.close()
        with contextlib.suppress(ConnectionError):  # the supervisor may be gone as well
            await self._writer.wait_closed()
